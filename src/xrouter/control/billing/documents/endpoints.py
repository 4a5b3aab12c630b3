"""The API of documents: invoices, acts, the register of sales."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from xrouter.control.billing import exports
from xrouter.control.billing.documents.paper import Kind
from xrouter.control.billing.documents.register import register
from xrouter.control.billing.documents.schemas import PaperOut, PaperQuery, RegisterQuery
from xrouter.control.billing.documents.service import MEDIA_TYPES, Documents
from xrouter.control.billing.schemas import Month
from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Name

router = APIRouter(prefix="/billing", tags=["billing"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": dict.fromkeys(MEDIA_TYPES.values(), _BINARY)}
}
Papers = Annotated[Documents, room(Documents)]


@router.get("/documents/{organization}/{month}/{kind}", response_model=PaperOut, responses=_FILES)
@open_to(Access.PERSON)
async def get_document(
    organization: Name,
    month: Month,
    kind: Kind,
    documents: Papers,
    query: Annotated[PaperQuery, Query()],
) -> PaperOut | Response:
    """Show an invoice or an act of a month; as PDF, XLSX or JSON."""
    paper = await documents.paper(organization, month, kind, query)
    if query.format == "json":
        return PaperOut.model_validate(paper)
    data = await documents.file(paper, query.format)
    return _file(data, f"{kind}-{paper.number}.{query.format}", MEDIA_TYPES[query.format])


@router.get("/register/{month}", response_class=Response, responses=exports.ALSO_CSV)
async def get_register(
    month: Month, documents: Papers, query: Annotated[RegisterQuery, Query()]
) -> Response:
    """Show what was sold in a month as CSV for 1C: a row for each line of each act."""
    text = register(await documents.register(month, query.organization))
    data = exports.encoded(text, query.encoding)
    return _file(data, f"register-{month}.csv", exports.media_type(query.encoding))


def _file(data: bytes, name: str, media_type: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=media_type, headers=headers)
