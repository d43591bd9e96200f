"""All sessions of this process: opening, taking up again, draining."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Transient
from services.core.contracts.events import StudyRef
from services.core.contracts.ids import PatientKey, StudyKey, derived_uuid
from services.navigation.domain.answers import Accepted, Fault, Limit, Reason, SessionEnded
from services.navigation.domain.orders import Start
from services.navigation.domain.token import Token
from services.navigation.handlers.series import Anatomy
from services.navigation.handlers.session import SessionPorts, TheatreSession
from services.navigation.ports import KnownStudy, StudySource

log = logging.getLogger(__name__)


class Elsewhere(Fault):
    """The session lives in another process."""

    def __init__(self, address: str) -> None:
        super().__init__(Reason.SESSION_ELSEWHERE, f"the session lives at {address}", f"Connect to {address}.")
        self.address = address


class Place:
    """Where this process is reached, where its poses are, and which start of it this is."""

    def __init__(self, boot: str, poses_address: Callable[[], str]) -> None:
        self.boot = boot
        self.poses_address = poses_address
        self.address = ""

    def listens_on(self, address: str) -> None:
        """The server is up; before that no session can be opened."""
        self.address = address


class Registry:
    """Sessions by id. `alive` says whether a navigation process answers at an address."""

    def __init__(
        self,
        place: Place,
        studies: StudySource,
        ports: SessionPorts,
        most: int,
        alive: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._place = place
        self._studies = studies
        self._ports = ports
        self._most = most
        self._alive = alive
        self._sessions: dict[str, TheatreSession] = {}
        self.draining = False

    @property
    def sessions(self) -> list[TheatreSession]:
        """The open ones."""
        return list(self._sessions.values())

    async def open(self, start: Start) -> tuple[TheatreSession, Accepted]:
        """A new session, with what the gateway knows of its study. Raises Fault."""
        if self.draining:
            raise Fault(Reason.DRAINING, "this process is stopping", "Connect again: another one answers.")
        if len(self._sessions) >= self._most:
            raise Fault(Reason.TOO_MANY_SESSIONS, f"{self._most} sessions are open", "End one of them.")
        token = Token.new(self._place.address, self._place.boot)
        self._ports.material.begin(token.session)
        try:
            known, limit = await self._known(start.study, token)
        except Fault:
            await asyncio.to_thread(self._ports.material.forget, token.session)
            raise
        patient = known.study.patient if known.prepared is not None else None
        anatomy = Anatomy(session=token.session, study=known.study, patient=patient, prepared=known.prepared)
        session = TheatreSession(token, start, anatomy, self._ports, self._over)
        self._sessions[token.session] = session
        self._count()
        log.info("theatre.opened", extra={"session": token.session, "study": known.study.study})
        return session, self.accepted(session, known.modalities, limit)

    async def resume(self, text: str) -> TheatreSession:
        """The session of a token. Raises Fault: Elsewhere, or SESSION_LOST."""
        token = Token.parse(text)
        if token.address != self._place.address:
            if await self._alive(token.address):
                raise Elsewhere(token.address)
            raise Fault(Reason.SESSION_LOST, "the process of this session is gone", "Open a new session.")
        session = self._sessions.get(token.session)
        if session is None or session.closed.is_set() or not session.token.opens(token):
            raise Fault(Reason.SESSION_LOST, "there is no such session", "Open a new session.")
        return session

    def accepted(
        self, session: TheatreSession, modalities: tuple[Modality, ...] = (), limit: Limit | None = None
    ) -> Accepted:
        """What the stream hears first."""
        series, chunk = session.upload_state()
        return Accepted(
            token=session.token.text(),
            modalities=modalities,
            limit=limit,
            upload=series,
            next_chunk=chunk,
            poses_address=self._place.poses_address(),
        )

    async def drain(self, within_s: float) -> None:
        """No new sessions; what runs may finish; then every stream ends."""
        self.draining = True
        ended = SessionEnded(limit=Limit(reason=Reason.DRAINING, message="this process is stopping"))
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(session.idle() for session in self.sessions))
        except TimeoutError:
            log.warning("theatre.drain_cut", extra={"count": len(self._sessions)})
        for session in self.sessions:
            session.log.add(ended)
        await asyncio.gather(*(session.close() for session in self.sessions))

    async def _known(self, study: str, token: Token) -> tuple[KnownStudy, Limit | None]:
        if not study:
            return _nobody(token), None
        try:
            return await self._studies.study(study, token.session), None
        except Transient as error:
            message = f"the session starts without study {study}: {error.message}"
            return _nobody(token), Limit(reason=Reason.STUDY_UNAVAILABLE, message=message, advice=error.advice)

    def _over(self, session: TheatreSession) -> None:
        self._sessions.pop(session.token.session, None)
        self._count()
        log.info("theatre.ended", extra={"session": session.token.session})

    def _count(self) -> None:
        self._ports.metrics.navigation_sessions.set(len(self._sessions))


def _nobody(token: Token) -> KnownStudy:
    """A study that the gateway does not know: a pseudonym of its own."""
    study = StudyKey(derived_uuid("theatre", token.session, token.boot))
    return KnownStudy(
        study=StudyRef(patient=PatientKey(secrets.token_hex(16)), study=study, version=1), prepared=None, modalities=()
    )
