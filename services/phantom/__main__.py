"""`python -m services.phantom SEED FOLDER`: writes one synthetic study."""

import sys

from services.phantom.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
