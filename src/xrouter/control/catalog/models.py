"""Models and their versions, as the operator sees and changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import names, objects, policies, removal, repository
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.policies import Strategies
from xrouter.control.catalog.schemas import (
    Capabilities,
    ModelIn,
    ModelOut,
    ModelPatch,
    ModelQuery,
    VersionIn,
)
from xrouter.control.db import changes
from xrouter.control.db.changes import CREATE, UPDATE
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import ModelRow, VersionRow
from xrouter.control.kit import etag
from xrouter.control.kit.schemas import Page
from xrouter.domain.errors import Conflict, InvalidRequest

DEFAULT_LABEL = "default"


class ModelService:
    """Every method is one transaction. changed: called after each that wrote something.

    if_match: the header of a write that goes only where the caller has seen (`kit.etag`).
    """

    def __init__(
        self,
        db: Database,
        adapters: Adapters,
        changed: Callable[[], None],
        strategies: Strategies | None = None,
    ) -> None:
        self._db = db
        self._adapters = adapters
        self._changed = changed
        self._strategies = strategies or {}

    async def page(self, query: ModelQuery) -> Page[ModelOut]:
        """Models by id, behind the id `after`."""
        limit = query.limit
        async with self._db.read() as session:
            found = await repository.models(
                session,
                provider=query.provider,
                available=query.available,
                after=query.after,
                limit=limit + 1,
            )
            data = [_out(row) for row in found[:limit]]
        return Page(data=data, next=data[-1].model_id if len(found) > limit else None)

    async def get(self, model_id: str) -> ModelOut:
        """One model. Raises ModelNotFound."""
        async with self._db.read() as session:
            return _out(await repository.model(session, model_id))

    async def create(self, given: ModelIn) -> ModelOut:
        """Make a model. Raises NotFound, Conflict, InvalidRequest."""
        name = _name(given)
        elsewhere = {"versions", "adapter_class", "display_name", "capabilities"}
        fields = given.model_dump(exclude=elsewhere)
        versions = given.versions or [VersionIn(label=DEFAULT_LABEL, upstream=name)]
        try:
            async with self._db.write() as session:
                provider = await repository.provider(session, given.provider, lock=True)
                adapter_class = given.adapter_class or provider.adapter_class
                self._adapters.require(adapter_class)
                row = ModelRow(
                    **fields,
                    adapter_class=adapter_class,
                    display_name=given.display_name or name,
                    capabilities=_said(given.capabilities),
                    versions=_rows(versions),
                )
                await _refuse_taken(session, given.model_id)
                session.add(row)
                await session.flush()
                await self._check_policy(session, row)
                await policies.check_successors(session, [v.successor for v in versions])
                await _note(session, CREATE, row, None)
        except IntegrityError:
            raise Conflict(
                f"The model '{given.model_id}' exists already.",
                param="model_id",
                hint=f"PATCH /control/v1/models/{given.model_id} changes it.",
            ) from None
        self._changed()
        return await self.get(given.model_id)

    async def update(
        self, model_id: str, patch: ModelPatch, if_match: str | None = None
    ) -> ModelOut:
        """Change a model.

        Raises ModelNotFound, InvalidRequest, PreconditionFailed, and Conflict when somebody refers
        to a version that would be gone.
        """
        new = patch.sent()
        if "adapter_class" in new:
            self._adapters.require(new["adapter_class"])
        versions = new.pop("versions", None)
        if "capabilities" in new:
            new["capabilities"] = _said(new["capabilities"])
        async with self._db.write() as session:
            row = await repository.model(session, model_id, lock=True)
            before = objects.model(row)
            etag.require(if_match, before)
            for name, value in new.items():
                setattr(row, name, value)
            if versions is not None:
                await removal.of_words(session, model_id, _words(row.versions) - _words(versions))
                old = [version.successor for version in row.versions]
                row.versions.clear()
                await session.flush()
                row.versions.extend(_rows(versions))
                await session.flush()
                await policies.check_successors(session, [v.successor for v in versions], old)
            if "policy" in new or "kind" in new:
                await session.flush()
                await self._check_policy(session, row)
            await _note(session, UPDATE, row, before)
        self._changed()
        return await self.get(model_id)

    async def delete(self, model_id: str, if_match: str | None = None) -> None:
        """Delete a model; a later sync may bring it back.

        Raises ModelNotFound, PreconditionFailed, and Conflict when somebody refers to it.
        """
        async with self._db.write() as session:
            await repository.lock_releases(session, ModelRow.model_id == model_id)
            row = await repository.model(session, model_id, lock=True)
            etag.require(if_match, objects.model(row))
            await removal.of_model(session, row)
            await session.delete(row)
        self._changed()

    async def _check_policy(self, session: AsyncSession, row: ModelRow) -> None:
        """Raises InvalidRequest."""
        holder = policies.Holder(row.model_id, frozenset({row.kind}))
        await policies.check(session, row.policy, self._strategies, holder=holder)


async def _note(
    session: AsyncSession, action: str, row: ModelRow, before: objects.Document | None
) -> None:
    """Write down what became of a model."""
    await session.flush()
    after = objects.model(row)
    await changes.record(session, action, "model", row.model_id, before=before, after=after)


async def _refuse_taken(session: AsyncSession, model_id: str) -> None:
    """The id must not mean a route already."""
    await repository.lock(session)
    route = (await names.routes(session)).get(model_id)
    if route is not None:
        raise Conflict(
            f"'{model_id}' is a name of the route '{route}'.",
            param="model_id",
            hint=f"PATCH /control/v1/routes/{route} changes its aliases.",
        )


def _out(row: ModelRow) -> ModelOut:
    shown = {name: getattr(row, name) for name in ModelOut.model_fields if name != "etag"}
    return ModelOut.model_validate({**shown, "etag": etag.etag(objects.model(row))})


def _words(versions: Iterable[VersionRow | VersionIn]) -> set[str]:
    """What callers may write behind the model's id."""
    return {word for version in versions for word in (version.label, version.channel) if word}


def _name(given: ModelIn) -> str:
    prefix = given.provider + "/"
    name = given.model_id.removeprefix(prefix)
    if not name or name == given.model_id:
        raise InvalidRequest(
            f"Invalid value for 'model_id': it must be '{prefix}<name>'.",
            param="model_id",
            code="invalid_value",
        )
    return name


def _said(capabilities: Capabilities) -> dict[str, Any]:
    said: dict[str, Any] = capabilities.model_dump(exclude_defaults=True)
    return said


def _rows(versions: Iterable[VersionIn]) -> list[VersionRow]:
    return [
        VersionRow(**version.model_dump(), position=position, origin="operator")
        for position, version in enumerate(versions)
    ]
