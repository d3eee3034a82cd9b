"""Uploaded files of the stand-ins."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import ClassVar

from werkzeug.wrappers import Request, Response

from backends.openai.sandbox import training_file
from backends.openai.sandbox.desk import Arguments, Desk, Refused
from backends.sandbox.server import answer
from backends.sandbox.world import Thing


class Files(Desk):
    """The files interface. A file's bytes never change; its id is the sandbox's own."""

    status_of_new_file: ClassVar[str] = "processed"

    def create_file(self, request: Request, arguments: Arguments) -> Response:
        upload = request.files.get("file")
        if upload is None or request.form.get("purpose") != "fine-tune":
            raise Refused(400, "A file and the purpose fine-tune are needed", param="purpose")
        content = upload.stream.read()
        if (line := training_file.not_jsonl(content)) is not None:
            raise Refused(
                400, f"Expected file to have JSONL format; line {line} is not an object", param="file"
            )
        file: Thing = {
            "id": f"file-{secrets.token_hex(12)}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(self.world.now()),
            "filename": upload.filename or "upload.jsonl",
            "purpose": "fine-tune",
            "status": self.status_of_new_file,
            "status_details": None,
        }
        if (seconds := request.form.get("expires_after[seconds]")) is not None:
            file["expires_at"] = file["created_at"] + int(seconds)
        self.world.blob(file["id"]).write_bytes(content)
        self.put("file", file)
        return answer(described_file(file))

    def list_files(self, request: Request, arguments: Arguments) -> Response:
        purpose = request.args.get("purpose")
        files = [file for file in self.files() if purpose in (None, file["purpose"])]
        page, more = self.page(request, files, default=10_000)
        ends = {"first_id": page[0]["id"] if page else "", "last_id": page[-1]["id"] if page else ""}
        return answer({"object": "list", "data": [described_file(f) for f in page], "has_more": more, **ends})

    def files(self) -> Iterator[Thing]:
        return (
            f for f in self.world.all(f"{self.name}.file") if f.get("expires_at", 2**40) > self.world.now()
        )

    def retrieve_file(self, request: Request, arguments: Arguments) -> Response:
        return answer(described_file(self.get("file", arguments["id"])))

    def download_file(self, request: Request, arguments: Arguments) -> Response:
        file = self.get("file", arguments["id"])
        return Response(self.world.blob(file["id"]).read_bytes(), mimetype="application/octet-stream")

    def delete_file(self, request: Request, arguments: Arguments) -> Response:
        file = self.get("file", arguments["id"])
        self.world.remove(f"{self.name}.file", file["id"])
        return answer({"id": file["id"], "object": "file", "deleted": True})


def described_file(file: Thing) -> Thing:
    return {name: value for name, value in file.items() if value is not None}
