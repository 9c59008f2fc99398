"""Domain names as options of DHCP carry them: labels with their lengths, never compressed (RFC 1035, 3.1). Pure."""


def encode(name: str) -> bytes:
    """`name`, without a dot at its end, on the wire."""
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
