"""`scripts/asyncapi`: writes what the outside may rely on, as files that a review shows the changes of."""

import json
from pathlib import Path

from scripts.interface.document import document
from scripts.interface.schemas import files

DOCS = Path(__file__).parents[2] / "docs"


def written() -> dict[Path, str]:
    """Every file of the interface below docs/, with its text."""
    schemas = {Path("schemas", f"{type_}.json"): schema for type_, schema in files().items()}
    return {
        path: json.dumps(value, ensure_ascii=False, indent=2) + "\n"
        for path, value in {Path("asyncapi.json"): document(), **schemas}.items()
    }


def main() -> None:
    texts = written()
    for stale in {path.relative_to(DOCS) for path in DOCS.glob("schemas/*.json")} - texts.keys():
        (DOCS / stale).unlink()
    for path, text in texts.items():
        (DOCS / path).parent.mkdir(exist_ok=True)
        (DOCS / path).write_text(text, encoding="utf-8")
    print(f"docs/asyncapi.json and {len(texts) - 1} files in docs/schemas are written.")


if __name__ == "__main__":
    main()
