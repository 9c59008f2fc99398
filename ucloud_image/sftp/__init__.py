"""ucloud-image-sftp: takes files from users, by SFTP from anywhere, over HTTP from the API alone.

It reads accounts and ssh keys in etcd and asks LDAP, whose answers and the tries to log in it keeps in etcd as the API
does; and it writes where the API finds it. It is the only one that writes into the upload folders. It must never give
anybody a shell, a forwarding, or a way out of the own folder; never ask etcd more often because somebody guesses; never
log a key, a password or a token; and never take what was cut off for whole.
"""
