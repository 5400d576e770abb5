"""The one error tree of the package.

::

    RmsError
    ├── DocumentError         a document (orchestrator, manifest, rule file's YAML) is not what it has to be
    │   ├── MissingError      a registry has no such document
    │   ├── ConflictError     a document is there already, or another one needs it
    │   ├── OvertakenError    another writer changed the registry meanwhile
    │   └── UnreachableError  what keeps the documents does not answer
    ├── SourceError           a source can't be opened or read
    ├── SinkError             a sink can't be written
    ├── DecodeError           a whole input can't be decoded (one bad record is a dead letter, not an error)
    ├── RuleError             a Sigma rule can't be evaluated
    └── FlowError             a flow can't be built or run
        └── BusyError         another instance does it already

Every message says what came, from where, what was expected and how to mend it.
"""


class RmsError(Exception):
    """What a person has to mend; the command line prints it without a traceback and exits with 2.

    Args:
        problem: What came and what is wrong with it, as a sentence without a full stop.
        where: File, URI or path inside a document, as exact as it is known.
        remedy: What was expected, or what to do.

    Example:
        >>> print(SourceError("no such file", where="auth.log", remedy="check the path"))
        auth.log: no such file; check the path
    """

    def __init__(self, problem: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.where = where
        self.remedy = remedy
        super().__init__(problem, where, remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}; {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keywords when the error crosses from a worker process."""
        return (_rebuild, (type(self), self.problem, self.where, self.remedy))


def _rebuild(kind: type[RmsError], problem: str, where: str | None, remedy: str | None) -> RmsError:
    return kind(problem, where=where, remedy=remedy)


class DocumentError(RmsError):
    """A document is not what it has to be; `where` is `file: path.inside.it`."""


class MissingError(DocumentError):
    """A registry has no such document, or none at that time."""


class ConflictError(DocumentError):
    """A document is there already, or another one refers to it."""


class OvertakenError(DocumentError):
    """Another writer changed the registry since it was looked at; what was decided has to be decided anew."""


class UnreachableError(DocumentError):
    """What keeps the documents does not answer, or refuses."""


class SourceError(RmsError):
    """A source can't be opened or read."""


class SinkError(RmsError):
    """A sink can't be written."""


class DecodeError(RmsError):
    """A whole input can't be decoded, for example because its format is unknown."""


class RuleError(RmsError):
    """A Sigma rule can't be evaluated; `where` is `file:line`."""


class FlowError(RmsError):
    """A flow can't be built or run."""


class BusyError(FlowError):
    """Another instance does it already; the command line exits with 75."""
