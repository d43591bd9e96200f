"""A C-STORE sender in a process of its own: `store_scu HOST PORT TITLE FILE...` prints each file that was acknowledged.

It ends at the first that was not. (pynetdicom's SCU leaves sockets to the garbage collector when its peer is killed.)
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

MR = "1.2.840.10008.5.1.4.1.1.4"


def main(host: str, port: str, title: str, *files: str) -> int:
    entity = AE(title)
    entity.add_requested_context(MR, ExplicitVRLittleEndian)
    association = entity.associate(host, int(port), ae_title="GLIOSERVE", max_pdu=128 << 10)
    for file in files:
        if not association.is_established:
            return 1
        answer = association.send_c_store(dcmread(Path(file)))
        if answer.get("Status", -1) != 0:
            return 1
        sys.stdout.write(f"{file}\n")
        sys.stdout.flush()
    association.release()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
