"""Orders to subscribe and unsubscribe, as most venues have them. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from tickwire.simulator.sockets.dialect import Dialect, Subscriptions
from tickwire.simulator.sockets.socket import Socket


class Topic(Struct, frozen=True):
    """One stream that an order names: its name in the dialect, and the client's own words for it."""

    name: str
    words: Any = None


class Order(Struct, frozen=True):
    """A client's order. `message` is the whole of it, for ids and words that the answer repeats."""

    subscribes: bool
    topics: list[Topic]
    message: dict[str, Any]


class Forms(Struct, frozen=True):
    """How a venue answers orders; each function returns a JSON value."""

    refused: Callable[[Order, Topic], Any]
    """The answer to a topic that does not exist; None: there is no answer."""
    per_topic: Callable[[Order, Topic], Any] | None = None
    """The acknowledgement of each topic by itself; None where there is none."""
    per_request: Callable[[Order], Any] | None = None
    """One acknowledgement for the request, with the topics that are accepted, before their messages; None: none.

    A request whose topics are all refused by an answer has none.
    """
    whole: bool = False
    """Whether one topic that is refused refuses the whole request."""
    full: Callable[[Order, Topic], Any] | None = None
    """The answer to a topic above the limit for one socket; None: as `refused`."""


def carry_out(
    dialect: Dialect, socket: Socket, order: Order, subscriptions: Subscriptions, forms: Forms
) -> list[bytes]:
    """Carry out an order; return the answers: refusals, then acknowledgements, each before its topics' messages."""
    encode = msgspec.json.encode
    taken: list[Topic] = []
    refusals: list[Any] = []
    for topic in order.topics:
        more = sum(each.name not in socket.names for each in [*taken, topic])
        if dialect.stream(topic.name) is None:
            refusals.append(forms.refused(order, topic))
        elif order.subscribes and topic.name not in socket.names and subscriptions.full(socket, more):
            refusals.append((forms.full or forms.refused)(order, topic))
        else:
            taken.append(topic)
    answers = [encode(refusal) for refusal in refusals if refusal is not None]
    if refusals and forms.whole:
        return answers[:1]
    if forms.per_request and (taken or not answers):
        answers.append(encode(forms.per_request(msgspec.structs.replace(order, topics=taken))))
    for topic in taken:
        if forms.per_topic:
            answers.append(encode(forms.per_topic(order, topic)))
        if order.subscribes:
            answers += subscriptions.subscribe(socket, [topic.name])
        else:
            subscriptions.unsubscribe(socket, [topic.name])
    return answers
