"""What bufferd raises. It has no imports of ours: the extension module imports it."""


class Error(Exception):
    """An answer of the daemon, or the lack of one.

    ``code`` is the number of ``enum bufferd_outcome`` (or a negative errno), ``name`` its short
    name ("unsupported", "gone", "full"), ``text`` says what and where.
    """

    def __init__(self, code, name, text):
        super().__init__(code, name, text)
        self.code, self.name, self.text = code, name, text

    def __str__(self):
        return f"{self.name}: {self.text}" if self.text else self.name
