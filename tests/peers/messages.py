"""Messages of one string field, without generated code."""


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode(data):
    """The string in field 1."""
    if not data:
        return ""
    assert data[0] == 0x0A, data
    length = shift = 0
    at = 1
    while True:
        byte = data[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return data[at : at + length].decode()


def encode(text):
    raw = text.encode()
    return b"\x0a" + varint(len(raw)) + raw if raw else b""
