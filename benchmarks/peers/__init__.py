"""Stagepost beside others that send email: the same mails into the same sink, in turns."""
