"""How often a winner is claimed where there is none: the study, as a command of its own.

python -m bench.study runs/study.jsonl      300 comparisons, about an hour; resumable
"""

import sys

from bench.studies.same_model_twice import main

if __name__ == "__main__":
    sys.exit(main())
