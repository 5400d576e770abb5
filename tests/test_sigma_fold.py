"""Folding against RE2, which folds case simply too, for every character that there is."""

import sys

import re2

from rms_flows.sigma.fold import fold

CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
FOLDED = fold("".join(CHARACTERS))


def test_each_character_folds_to_one_and_folding_again_changes_nothing():
    assert len(FOLDED) == len(CHARACTERS)
    assert fold(FOLDED) == FOLDED


def test_re2_takes_each_character_and_its_folded_form_for_the_same():
    changed = [(one, to) for one, to in zip(CHARACTERS, FOLDED, strict=True) if one != to]
    assert len(changed) > 1400
    strange = {one for one, to in changed if not re2.fullmatch(f"(?i){re2.escape(to)}", one)}
    assert strange <= set("\u1fd3\u1fe3\ufb05"), "added by Unicode 15.1, later than some RE2 know"
