"""The errors that a user can meet.

    UnmaskError                 exit code 1: the work failed
    ├── BadOption               2: an option's value is impossible (also a ValueError)
    │   └── UnknownModel        2: no model of that name
    ├── CannotOpen              2: the input is not a video that can be read
    ├── BadReference            2: a reference photo cannot be used
    ├── BadEnvironment          2: weights, a provider or an encoder is missing or damaged
    ├── CannotDecode            1: the input broke off while it was read
    ├── CannotEncode            1: the output could not be written
    ├── NotTheSame              5: `verify` found that more than faces has changed
    └── Stopped                 4: the user stopped the work (Ctrl-C)

Each message is one sentence with the value, what is allowed, and what to do next.
"""

from __future__ import annotations


class UnmaskError(Exception):
    """Base of every error that is the user's or the file's, not ours."""

    exit_code = 1


class BadOption(UnmaskError, ValueError):
    """An option has a value that cannot be used."""

    exit_code = 2


class UnknownModel(BadOption):
    """A model was asked for that does not exist."""


class CannotOpen(UnmaskError):
    """The input is missing, is no video, or holds no picture."""

    exit_code = 2


class BadReference(UnmaskError):
    """A reference photo is unreadable, shows no face, or shows several."""

    exit_code = 2


class BadEnvironment(UnmaskError):
    """Something that has to be installed is missing, damaged or does not work here."""

    exit_code = 2


class CannotDecode(UnmaskError):
    """The input could be opened but not read to its end."""


class CannotEncode(UnmaskError):
    """The output could not be written; whatever stood there before is untouched."""


class NotTheSame(UnmaskError):
    """A film differs from its source in more than filled faces."""

    exit_code = 5


class Stopped(UnmaskError):
    """The user stopped the work; what was done is kept, and the same call goes on with it."""

    exit_code = 4
