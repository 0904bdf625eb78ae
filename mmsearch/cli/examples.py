"""Examples for the help of every command, which tests give to its parser."""

from __future__ import annotations

from typing import Any

_EXAMPLES = {
    "": """
        mmsearch demo                      # on sample pictures, without any download
        mmsearch index ~/photos
        mmsearch search "a dog in the snow"
        mmsearch serve                     # a page in the browser
    """,
    "index": """
        mmsearch index ~/photos
        mmsearch index ~/photos --exclude "*.tmp.jpg" --exclude /raw/
        mmsearch index ~/photos --model offline --library ~/library
        mmsearch index ~/photos --watch    # go on with what changes, until Ctrl-C
    """,
    "search": """
        mmsearch search "a cat" -k 3
        mmsearch search "2:a beach" -i ~/photos/cat.jpg --not people
        mmsearch search "a cake" --where "taken >= 2023-05 and width > 800"
        mmsearch search -i ~/party.mp4 --at 1:12.5 --html alike.html --open
    """,
    "classify": """
        mmsearch classify ~/photos/cat.jpg --labels "cat,dog,a red car"
        mmsearch classify ~/photos/*.jpg --labels "indoors,outdoors" --closed
    """,
    "identify": """
        mmsearch identify ~/photos/cat.jpg    # among named people, or folders
        mmsearch identify ~/photos/ann.jpg --gallery ~/people
    """,
    "duplicates": """
        mmsearch duplicates
        mmsearch duplicates ~/photos --class same-file --format paths0    # for xargs
        mmsearch duplicates --keep oldest --html duplicates.html
    """,
    "serve": """
        mmsearch serve
        mmsearch serve --port 9000 --no-open --library ~/library
    """,
    "status": """
        mmsearch status
        mmsearch status --format json
    """,
    "verify": """
        mmsearch verify
        mmsearch verify --repair    # forget what is damaged; index makes it anew
    """,
    "rm": """
        mmsearch rm ~/photos/old    # forget pictures; files are never deleted
        mmsearch rm --queries       # forget the texts that were looked for
    """,
    "tag add": """
        mmsearch tag add ~/photos/2019/wedding --tag wedding --tag "Places > Italy"
        mmsearch search "Anna laughs" --where "tag = wedding"
    """,
    "tag rm": """
        mmsearch tag rm ~/photos/2019/wedding/cat.jpg --tag wedding
        mmsearch tag rm ~/photos --tag old --tag wrong
    """,
    "tag list": """
        mmsearch tag list
        mmsearch tag list ~/photos/cat.jpg
    """,
    "caption": """
        mmsearch caption ~/photos/cat.jpg "Mimi sleeps on the warm stove"
        mmsearch caption ~/photos/cat.jpg --rm
    """,
    "backup": """
        mmsearch backup photos.backup
        mmsearch backup /media/disk/small.backup --no-vectors
    """,
    "restore": """
        mmsearch restore photos.backup --library ~/restored
        mmsearch restore photos.backup --move /old/photos=/new/photos
    """,
    "demo": """
        mmsearch demo
        mmsearch demo --library ~/library
    """,
    "calibrate": """
        mmsearch calibrate ~/captioned    # for the encoder of the library
        mmsearch calibrate ~/captioned --classes ~/labelled --model offline
    """,
    "embed": """
        mmsearch embed ~/photos --out shards
        mmsearch embed ~/photos --out shards --model offline --workers 2
    """,
    "export": """
        mmsearch export --out shards
        mmsearch export --out shards --library ~/library
        mmsearch export --sidecars ~/sidecars    # your tags and captions
    """,
    "load": """
        mmsearch load shards
        mmsearch load shards --library ~/library
    """,
    "schema": """
        mmsearch schema search
        mmsearch schema labels list --line
    """,
    "labels set": """
        mmsearch labels set animals --labels "cat,dog,moose"
        mmsearch labels set places --labels-file places.txt --multi
    """,
    "labels list": """
        mmsearch labels list
        mmsearch labels list --format json
    """,
    "labels rm": """
        mmsearch labels rm animals
        mmsearch labels rm animals --library ~/library
    """,
    "people list": """
        mmsearch people list
        mmsearch people list 7    # the faces of a group
    """,
    "people name": """
        mmsearch people name 7 Anna
        mmsearch people name 7 --rm
    """,
    "people merge": """
        mmsearch people merge 7 12
        mmsearch people merge 7 12 31 --library ~/library
    """,
    "people split": """
        mmsearch people split 7 ~/photos/somebody-else.jpg
        mmsearch people split 7 ~/photos/2019
    """,
    "people hide": """
        mmsearch people hide 7
        mmsearch people hide 7 --undo
    """,
    "people forget": """
        mmsearch people forget 7
        mmsearch people forget --all
    """,
    "sound index": """
        mmsearch sound index ~/music
        mmsearch sound index ~/music ~/films --library ~/library
    """,
    "sound search": """
        mmsearch sound search ~/heard-in-a-bar.m4a
        mmsearch sound search ~/film.mkv --at 754 --duration 15
    """,
    "sound status": """
        mmsearch sound status
        mmsearch sound status --format json
    """,
    "sound rm": """
        mmsearch sound rm ~/music/old
        mmsearch sound rm ~/music/a.mp3 --library ~/library
    """,
    "bench retrieval": """
        mmsearch bench retrieval ~/captioned --model offline
        mmsearch bench retrieval ~/captioned --split test --out report
    """,
    "bench instance": """
        mmsearch bench instance ~/things --model cnn:gem --model cnn:rmac
        mmsearch bench instance ~/things --local --out report
    """,
    "bench identify": """
        mmsearch bench identify ~/people
        mmsearch bench identify ~/people --model cnn:windows --out report
    """,
    "bench classify": """
        mmsearch bench classify ~/labelled --model offline
        mmsearch bench classify ~/labelled --templates names --templates openai
    """,
    "bench calibration": """
        mmsearch bench calibration ~/captioned --model offline
        mmsearch bench calibration ~/labelled --out report
    """,
    "bench ann": """
        mmsearch bench ann
        mmsearch bench ann --tune 0.98 --out report
    """,
    "bench run": """
        mmsearch bench run qrels.txt first.run second.run
        mmsearch bench run qrels.txt first.run --out report
    """,
    "vocabulary train": """
        mmsearch vocabulary train ~/photos --out words
        mmsearch vocabulary train ~/photos --words 16384 --out words
    """,
    "vocabulary export": """
        mmsearch vocabulary export words
        mmsearch vocabulary export words --library ~/library
    """,
    "vocabulary info": """
        mmsearch vocabulary info          # that of the library
        mmsearch vocabulary info words
    """,
    "train captions": """
        mmsearch train captions ~/captioned --out mine
        mmsearch train captions ~/captioned --out mine --keep 0 --epochs 20
    """,
    "train pairs": """
        mmsearch train pairs ~/things --out mine
        mmsearch train pairs --from-library --out mine
    """,
    "train classes": """
        mmsearch train classes ~/labelled --out classes.safetensors
        mmsearch classify ~/photos/cat.jpg --classifier classes.safetensors
    """,
}


def add_examples(app: Any, name: str = "") -> None:
    """End the help of the program, an application of typer, and of every command with examples."""
    if not name:
        app.info.epilog = _shown(name)
    for command in app.registered_commands:
        command.epilog = _shown(f"{name}{command.name or command.callback.__name__}")
    for group in app.registered_groups:
        add_examples(group.typer_instance, f"{name}{group.name} ")


def _shown(command: str) -> str:
    lines = [line.strip() for line in _EXAMPLES[command].strip().splitlines()]
    return "\n".join(["Examples", *(f"  {line}" for line in lines)])
