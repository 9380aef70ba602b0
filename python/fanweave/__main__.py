"""``python -m fanweave``: the command ``fanweave``."""

from fanweave._command import main

if __name__ == "__main__":
    main()
