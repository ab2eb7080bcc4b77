"""Routing of questions to those who follow them, and of their answers to the asker.

`questions.py` keeps the questions that are open; this module reads and writes the frames.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from berrymq.bridge.protocol import batches
from berrymq.bridge.protocol.frames import ANSWER, ASK, CONCLUDE, LargeAnswer, parse_names, split_answers
from berrymq.bridge.protocol.json_checks import FrameError, encode_json
from berrymq.bridge.protocol.reliable_stream import HoldingBody

from .peer import Peer
from .questions import Questions
from .validation import MAX_BATCH_BYTES, read_answer, read_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from berrymq.bridge.protocol.batches import Batch
    from berrymq.bridge.protocol.frames import AnswerParams, AskParams, Buffers
    from berrymq.bridge.protocol.offers import Offers

    from .downloads import Downloads
    from .questions import Question
    from .room import Room
    from .router import Router

__all__ = ["QuestionRouter"]

MAX_UNANSWERED = 100
"""Names of nodes without an answer that are sent with the answers to a question."""

FURTHER_SECONDS = 0.2
"""The time for the hubs of other machines to say which of their nodes have not answered."""


class QuestionRouter:
    """Asks the followers of a question, and collects and returns their answers.

    Used by nodes and hubs alike. The lock of the router is held, except where a method says "on any thread".

    Args:
        router: decides which of its subscribers are asked, see `Router.can_be_asked`.

    Attributes:
        pending: the open questions.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.pending = Questions(
            router.budget, router.lock, failed_answer(router.name, "has no memory for so many answers")
        )

    # -- frames of peers -------------------------------------------------------------------------------------

    def handle_ask(self, peer: Peer, params: AskParams) -> None:
        """Put a question of a peer to its other followers. The lock is held.

        Args:
            peer: the asker, which is not asked itself.
            params: its number of the question, and a batch of the message.

        Raises:
            FrameError: it is malformed, or the peer does not read its answers.
        """
        batch, data = read_batch(peer, params.batch)
        if params.sizes:
            batch, data = batches.large_batch(data, self._router.memories.receive(params))
        number = params.question
        if peer.stream.held_bytes > 2 * peer.stream.limits.buffer_bytes:
            raise FrameError("a node that takes no answers asks nothing more")
        self.ask(peer, peer.room, batch, data, self.answer_to(peer, number), asked_as=number)

    def answer_to(self, peer: Peer, number: int) -> Callable[[list[Any]], None]:
        """Return the callback that sends the answers to a question of a peer; call it on any thread.

        Args:
            peer: the asker.
            number: its own number of the question.
        """

        def done(answers: list[Any]) -> None:
            with self._router.lock:
                self._send_answers(peer, number, answers)

        return done

    def handle_answer(self, peer: Peer, params: AnswerParams) -> None:
        """Store the answers of a peer. The lock is held.

        Args:
            peer: was asked.
            params: the number of the question, the answers, and the names of nodes without one.

        Raises:
            FrameError: they are malformed.
        """
        found = split_answers(params.answers, one=peer.role == "member")
        unanswered = parse_names(params.unanswered) if peer.role in ("hub", "mesh") else ()
        answers: list[bytes] = []
        pulled = 0

        def read() -> None:
            nonlocal pulled
            pulled -= 1
            if pulled < 0:
                self.pending.answer(params.question, peer, answers, unanswered)

        for raw in found:
            answer, buffers = read_answer(peer, bytes(raw))
            if buffers is None:
                answers.append(answer)
                continue
            answers.append(large := LargeAnswer(answer))
            if type(buffers.memory) is int:
                pulled += 1
                self._router.pull(
                    peer, buffers, None, len(answer), partial(self._add_buffers, large, buffers, read)
                )
            else:
                self._add_buffers(large, buffers)
        read()

    def _add_buffers(
        self, answer: LargeAnswer, buffers: Buffers, done: Callable[[], object] = lambda: None
    ) -> None:
        answer.memory = self._router.memories.receive(buffers)
        done()

    def handle_conclude(self, peer: Peer, number: int) -> None:
        """Answer with what has arrived and the names of nodes without an answer. The lock is held.

        Args:
            peer: the asker, which has reached its deadline.
            number: its own number of the question.
        """
        question = self.pending.find(peer, number)
        if question is None:
            return  # its answers are in flight
        further = [one for one in question.waiting if isinstance(one, Peer) and one.role == "mesh"]
        if not further:
            self._conclude_for(peer, number)
            return
        # They are hubs, and know which of their nodes have not answered.
        question.done = lambda answers: self._send_answers(
            peer, number, answers, question.unanswered[:MAX_UNANSWERED]
        )
        for one in further:
            one.stream.send(CONCLUDE, b'"question":%d' % question.number)
            self._router.flush_later(one)
        self._router.loop.call_later(FURTHER_SECONDS, self._conclude_for, peer, number)

    def _conclude_for(self, peer: Peer, number: int) -> None:
        """End a question of a peer, if it is open still, with what has arrived."""
        with self._router.lock:
            question = self.pending.find(peer, number)
            if question is None:
                return
            unanswered = [*question.unanswered, *map(self._name_of, question.waiting)]
            self.pending.give_up(question)
            self._send_answers(peer, number, question.answers, unanswered[:MAX_UNANSWERED])
            self._router.flush_all()

    def _send_answers(
        self, peer: Peer, number: int, answers: list[bytes], unanswered: Iterable[str] = ()
    ) -> None:
        """Send the answers to a question to the peer that has asked it. The lock is held.

        Answers that don't fit into one frame are replaced by an error.

        Args:
            peer: the asker.
            number: its own number of the question.
            answers: encoded.
            unanswered: the names of nodes without an answer.
        """
        if sum(map(len, answers)) > MAX_BATCH_BYTES:  # more than fits into a frame
            answers = [failed_answer(peer.name, "was answered with more than one frame takes")]
        on_wire, size = [], sum(map(len, answers))
        for one in answers:
            on_wire.append(_on_wire(one, peer.stream.offers, size))
            size += len(on_wire[-1]) - len(one)
        params = b'"question":%d,"answers":[%b]' % (number, b",".join(on_wire))
        if unanswered:
            params += b',"unanswered":%b' % encode_json(unanswered)
        memories = [one.memory for one in answers if isinstance(one, LargeAnswer)]
        peer.stream.send(ANSWER, HoldingBody.of(params, memories) if memories else params)
        self._router.flush(peer)

    # -- asking ----------------------------------------------------------------------------------------------

    def ask(
        self,
        asker: Peer | None,
        room: Room,
        batch: Batch,
        data: bytes,
        done: Callable[[list[Any]], object],
        *,
        for_client: bool = False,
        asked_as: int | None = None,
    ) -> Question:
        """Put a question to all who follow its identifier and can answer. The lock is held.

        Args:
            asker: the peer that asks, which is not asked itself; None for this process.
            room: the room of the followers.
            batch: the question.
            data: its bytes, as they are passed on.
            done: called with the answers.
            for_client: a client without a link asks.
            asked_as: the asker's own number of the question.
        """
        router = self._router
        followers = room.route(batch.identifier)
        asked: list[Any] = [
            one
            for one in followers
            if router.can_be_asked(asker, one) or (for_client and router.answers_itself(one))
        ]
        is_full = self.pending.is_full_for(asker)
        question = self.pending.open(asker, [] if is_full else asked, done, asked_as)
        if is_full:
            asked = []
            question.answers.append(failed_answer(router.name, "has too many open questions already"))
        for one in asked:
            router.ask_subscriber(one, question, batch, data)
        self.pending.end_if_complete(question)
        router.flush_all()
        return question

    def ask_peer(self, peer: Peer, question: Question, data: bytes) -> None:
        """Put a question to a peer, or answer in its place if it is too far behind. The lock is held.

        Args:
            peer: is asked.
            question: the open question.
            data: the bytes of its batch.
        """
        if peer.stream.capacity == 0:  # questions are never dropped, so they must not pile up
            answer = failed_answer(peer.name, "is too far behind to be asked")
            self.pending.answer(question.number, peer, [answer])
            return
        head = b'"question":%d,"batch":' % question.number
        if isinstance(data, batches.LargeBatchBytes):
            memory = data.memory.parameter(to=peer.stream.offers, beside=len(data) + len(head))
            body = HoldingBody.of(b"%b%b,%b" % (head, data, memory), [data.memory])
            peer.stream.send(ASK, body)
        else:
            peer.stream.send(ASK, data, head=head)
        self._router.flush_later(peer)

    def ask_for_client(  # noqa: PLR0917 - the parts of a message
        self,
        room: Room,
        identifier: str,
        source: str,
        number: int,
        message: bytes,
        done: Callable[[list[bytes]], object],
    ) -> tuple[Callable[[], None], Callable[[], list[bytes]]]:
        """Put a question for a client that has no link. The lock is held.

        Args:
            room: the client's room.
            identifier: the question's.
            source: the client's name.
            number: the sequence number of the message.
            message: the question.
            done: called with the answers.

        Returns:
            A function that abandons the question, and one that returns the answers that have come so far.
        """
        router = self._router
        head = batches.batch_head(identifier, router.id, f"{source} via {router.name}")
        data = batches.encode_batch(head, number, [message], 1)

        for_client = partial(_for_client, router.downloads)

        def ended(answers: list[bytes]) -> None:
            done([for_client(answer) for answer in answers])

        question = self.ask(None, room, batches.parse_batch(data), data, ended, for_client=True)
        return lambda: self.give_up(question), lambda: [for_client(answer) for answer in question.answers]

    # -- ending ----------------------------------------------------------------------------------------------

    def conclude(self, question: Question) -> None:
        """End a question with the answers that have arrived; on any thread.

        A hub is asked for those that it has. All others have given none, and are named in `unanswered`.
        """
        router = self._router
        with router.lock:
            for one in list(question.waiting):
                if isinstance(one, Peer) and one.role in ("hub", "mesh"):
                    one.stream.send(CONCLUDE, b'"question":%d' % question.number)
                    router.flush_later(one)
                else:
                    self.pending.answer(question.number, one, [], [self._name_of(one)])
            router.flush_all()

    def unanswered(self, question: Question) -> list[str]:
        """Return the names of the nodes that have not answered a question; on any thread."""
        with self._router.lock:
            return [*question.unanswered, *map(self._name_of, question.waiting)]

    def give_up(self, question: Question) -> None:
        """Abandon a question; on any thread."""
        with self._router.lock:
            self.pending.give_up(question)

    def fail(self, peer: Peer, reason: str) -> None:
        """Answer all questions to a peer with an error. The lock is held.

        Args:
            peer: was asked, and is not connected any more.
            reason: completes the sentence that begins with its name.
        """
        self.pending.fail(peer, failed_answer(peer.name, reason))

    def forget_asker(self, peer: Peer) -> None:
        """Abandon the questions that a peer has asked. The lock is held."""
        self.pending.forget_asker(peer)

    def _name_of(self, subscriber: Hashable) -> str:
        """Return the name of a peer; for the bus of this process, that of this node."""
        return subscriber.name if isinstance(subscriber, Peer) else self._router.name


def _on_wire(answer: bytes, to: Offers, beside: int) -> bytes:
    """Return an answer as it stands in a frame.

    Args:
        answer: the answer.
        to: how the receiver reads buffers.
        beside: the bytes of the frame without its buffers.
    """
    if type(answer) is bytes:
        return answer
    assert isinstance(answer, LargeAnswer)
    return b"%b,{%b}]" % (answer[:-1], answer.memory.parameter(to=to, beside=beside))


def _for_client(downloads: Downloads, answer: bytes) -> bytes:
    """Return an answer as a client without a link gets it."""
    if not isinstance(answer, LargeAnswer):
        return answer
    return b"%b,%b]" % (answer[:-1], encode_json(downloads.forms(answer.memory)))


def failed_answer(name: str, reason: str) -> bytes:
    """Return the answer for a node that can't answer, as JSON; the asker gets a `LinkError`.

    Args:
        name: of the node.
        reason: completes the sentence that begins with the name.
    """
    error = {"$type": "RemoteError", "value": ["LinkError", f"{name} {reason}", []]}
    return encode_json((name, [], [error]))
