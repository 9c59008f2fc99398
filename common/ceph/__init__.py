"""Ceph's librados and librbd, kept at arm's length.

Their calls may hang for as long as the cluster does, and end the process that they are made in. So all are made in
child processes (hands.py), which are ended when they take too long. It must never be used by other means, and its
modules import nothing of ucloud but common.errors: a child is to be small.
"""
