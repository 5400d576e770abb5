"""The service and whom to believe: as a gateway, as who refuses forged envelopes, and whose documents have tags."""

import pytest
from probing import registry
from serving import envelopes, serving

from rms_flows.confirm import Confirmed, Manifests, Standing, open_trust
from rms_flows.envelope import generate, public_text
from rms_flows.model import DataSourceManifest, Trust
from rms_flows.serve import intake
from rms_flows.serve.intake import Known

KEYS = {name: generate() for name in ("hub", "thief", "attic")}
TRUST = Trust(publicKey=public_text(KEYS["hub"]), validFrom="2026-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    hub = DataSourceManifest(id="hub", name="h", dataSourceDefinitionReferenceID="gateway", trust=TRUST)
    registry(folder / "registry", hub)
    with serving(folder, "--out", folder / "out.ndjson", "--refuse-forged") as one:
        one.folder = folder
        yield one


def test_forged_envelopes_are_refused_where_that_was_asked_for(service):
    """Guards against a probe's token in wrong hands; without the option all is kept, since flows judge."""
    known = Known(Confirmed(Manifests(service.folder / "registry")))
    good, bad, stranger = (
        envelopes(KEYS[who], probe, 1, 2)
        for who, probe in (("hub", "hub"), ("thief", "hub"), ("attic", "attic"))
    )
    assert service.ask("POST", "/v1/envelopes", good + stranger).body == {"kept": 4}
    answer = service.ask("POST", "/v1/envelopes", good + bad)
    assert answer.status == 422
    assert (
        answer.body["problem"] == "an envelope of 'hub' is not signed with a key that the registry has of it"
    )
    assert service.ask("GET", "/healthz").body == {"status": "ok", "forged": 1}
    assert (service.folder / "out.ndjson").read_bytes() == good + stranger
    assert known.forged(intake.envelopes(good + stranger)) is None
    assert known.forged(intake.envelopes(bad)) == "hub"


def test_who_has_a_document_is_told_that_it_has_not_changed(service):
    path = "/v1/documents/DataKind/any"
    answer = service.ask("GET", path)
    here = service.connect()
    for asked, status in ((path, 304), (f"{path}?expanded=true", 304)):
        here.request("GET", asked, headers={"If-None-Match": answer.headers["etag"]})
        again = here.getresponse()
        assert (again.status, again.read()) == (status, b"")
    service.ask("PUT", path, {**answer.body, "name": "Other"})
    here.request("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    assert here.getresponse().status == 200
    here.close()


def test_the_service_is_a_gateway(service):
    known = open_trust(f"{service.url}/v1", service.folder)
    assert known.all() == {"hub": TRUST}
    told = known._source.ask("hub", None)
    assert told.trust == TRUST
    assert known._source.ask("hub", told) is told
    assert known.of("attic") == Standing(None)
