"""ucloud_otp: says whether a one-time token is right, once. It answers like ungleich-otp v0.6.

Reads and writes `/v1/otp` (names, realms and seeds) and `/v1/otp-tries` (wrong tokens in a row); all that it must
remember is there, so any number of it may run, and each may die at any time.

It must never accept a user's token a second time, never log or answer a seed (but once, to the admin who had it made)
or a token, and never let an answer or its time tell whether a name exists.
"""
