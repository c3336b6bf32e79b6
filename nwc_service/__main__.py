"""`python -m nwc_service` is the command line."""

from nwc_service.cli import main

if __name__ == "__main__":
    main()
