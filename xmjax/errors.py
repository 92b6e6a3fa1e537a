"""Errors that a user can cause."""


class UserError(Exception):
    """Bad input. The message names the thing, where it was found and the remedy.

    Launchers print it in one line, without a traceback, and exit with status 2.
    """
