"""The one error type of the export: a stable code for programs, a sentence for people."""


class ExportError(Exception):
    """An expected failure. `code` is one of CHECKPOINT_NOT_FOUND, CHECKPOINT_INVALID, BAD_OPTION,
    TOKENIZER_NOT_FOUND, EXPORT_FAILED, OUTPUT_FAILED; `message` says what happened and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
