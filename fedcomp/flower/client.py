"""The story of a message on the client: plan, train, protect, encode, seal, reply.

A round is trained at most once, one message at a time. The ledger entry is on disk before training starts, the encoded
update is on disk, and committed in the ledger, before it leaves, and a round that is asked for again is answered with
that same update: neither a restart nor a copied message costs a second release.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from fedcomp import training
from fedcomp.arrays import Array, Arrays
from fedcomp.codecs import CodecContext
from fedcomp.codecs.deltas import WHOLE, apply_deltas, model_name
from fedcomp.codecs.importance import importance_of
from fedcomp.config import Config, config_from_json
from fedcomp.crypto import Channel, Header, KeyPair
from fedcomp.crypto.at_rest import key_pair_from_bytes, key_pair_to_bytes
from fedcomp.errors import FedcompError
from fedcomp.flower.ledgers import digest_in
from fedcomp.flower.local_account import LocalAccount
from fedcomp.flower.messages import SERVER, Frame, MessageError, from_message, pack, to_record, unpack
from fedcomp.flower.place import Place, find_place
from fedcomp.plan import Plan, plan_from_json
from fedcomp.privacy import PoissonSampler, PrivateUpdate
from fedcomp.rng import stream
from fedcomp.tasks import Split
from fedcomp.terms import adaptive_clip, by_example, server_mechanism
from fedcomp.threads import single_thread
from fedcomp.training import set_arrays, train_plain


class Refusal(FedcompError):
    """The client does not do what it was asked; the server gets the reason."""


@dataclass(frozen=True)
class _Memory:
    """What the client remembers of the run it is in."""

    run: str
    plan: Plan
    session: str
    channel: Channel | None
    holds: str
    """The name of the model that is held here; empty if none."""
    replied: int
    head: str
    """The newest head of the server's records that came with a model; empty if none did."""
    stored: Mapping[str, bytes]


def client_app() -> ClientApp:
    """Return the ClientApp; where it keeps its state is in ``fedcomp.flower.place``."""
    app = ClientApp()

    @app.query("hello")
    def hello(message: Message, context: Context) -> Message:
        return _reply(message, context, _hello)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _reply(message, context, _train)

    return app


def _reply(message: Message, context: Context, answer: Callable[[Frame, Place], Frame]) -> Message:
    try:
        place = find_place(context)
        with place.turn():
            frame = answer(unpack(from_message(message)), place)
    except FedcompError as error:
        frame = Frame({"refused": f"{type(error).__name__}: {error}"})
    return Message(to_record(pack(frame)), reply_to=message)


def _hello(frame: Frame, place: Place) -> Frame:
    """Join a run, or say where this client stands in it: its name, its key, and which model version it holds."""
    run, config_json = frame.text("run"), frame.text("config")
    server_key = _key(frame.text("server_key"))
    if place.server_key is not None and server_key != place.server_key:
        raise Refusal("the server's public key is not the pinned one (server-public-key)")
    _obey(place, config_from_json(config_json))
    plan = plan_from_json(config_json)
    if plan.digest() != frame.text("plan"):
        raise Refusal(f"plans differ: the server's is {frame.text('plan')[:16]}, ours is {plan.digest()[:16]}")
    stored = place.state.load(place.name)
    about = json.loads(stored.get("about", b"{}"))
    if about.get("run") != run:
        key = place.key or KeyPair.generate()
        # Who left a run and joins it again has forgotten its replies, so its rounds are trained, and charged, anew: the
        # session is part of what a charge is for. Otherwise a server could have one charge answered with many noises.
        # Version 0 follows from the config, so nobody needs to be sent it; unless this machine makes another one of it.
        same = plan.initial_digest == frame.text("initial")
        about = {"run": run, "version": 0 if same else -1, "replied": 0, "session": secrets.token_hex(8)}
        about["holds"] = model_name(plan.initial_model()) if same else ""
        stored = {"key": key_pair_to_bytes(key)}
    elif plan_from_json(stored["config"].decode()).digest() != plan.digest():
        raise Refusal(f"run {run!r} was joined under another plan; what was agreed to does not change within a run")
    about["server_key"] = server_key.hex()
    stored = {**stored, "config": config_json.encode(), "about": json.dumps(about).encode()}
    place.state.save(place.name, stored)
    public = key_pair_from_bytes(stored["key"]).public.hex()
    known = {"version": about["version"], "holds": about["holds"]}
    return Frame({"client": place.name, "public_key": public, **known})


def _obey(place: Place, config: Config) -> None:
    if broken := place.policy.problems(config):
        raise Refusal(f"the policy of this client does not allow it: {'; '.join(broken)}")


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise MessageError("the server's public key is not hexadecimal") from error


def _train(frame: Frame, place: Place) -> Frame:
    """Answer one round."""
    began = time.monotonic()
    memory = _remember(place, frame.text("run"))
    round_number, plan = frame.number("round"), memory.plan
    _obey(place, plan.config)
    if round_number < memory.replied:
        raise Refusal(f"round {round_number} is replayed: round {memory.replied} was already answered")
    inner = unpack(_open(memory, frame, place.name, round_number))
    if plan.private:
        memory = replace(memory, head=digest_in(inner, "head"))
    if round_number == memory.replied:
        if inner.text("digest") != memory.holds:
            # the server lost what it knew and sends another model: held from now on, but the update has left already
            _keep(memory, place, inner, _receive_model(memory, inner), {})
        elif plan.private:
            _keep(memory, place, inner, None, {})  # the server's newest head
        return _answer(memory, place, memory.stored["reply"], round_number, began)
    model = _receive_model(memory, inner)
    held, width = _own_part(plan, place, model)
    context = CodecContext(held, memory=_encoder_memory(memory), max_bytes=_max_bytes(plan, place, inner))
    update, about = _protected_update(memory, place, held, round_number, inner)
    protected = _thin(plan, place, update), {**about, **width}
    reply, encoder_memory = _encode(plan, protected, place.name, round_number, context)
    kept = {"reply": reply}
    if encoder_memory:
        kept["memory"] = WHOLE.encode(encoder_memory, rng=stream(0))
    _keep(memory, place, inner, model, kept, replied=round_number)
    return _answer(memory, place, reply, round_number, began)


def _answer(memory: _Memory, place: Place, reply: bytes, round_number: int, began: float) -> Frame:
    """Return a stored reply as it travels; where the client charges itself, it is committed first."""
    if memory.plan.config.privacy.mode == "local":
        reply = _account(memory, place).commit(round_number, reply, memory.head)
    return _seal(memory, reply, place.name, round_number, began)


def _account(memory: _Memory, place: Place) -> LocalAccount:
    return LocalAccount(memory.plan, place.ledger, place.name, memory.run, memory.session)


def _keep(
    memory: _Memory, place: Place, inner: Frame, model: Arrays | None, kept: Mapping[str, bytes], **about: int
) -> None:
    """Save the model that is held from now on (``None``: the same), and what else belongs to it, all or nothing."""
    known = {"version": inner.number("version"), "holds": inner.text("digest"), "head": memory.head}
    stored = {"about": json.dumps({**json.loads(memory.stored["about"]), **known, **about}).encode()}
    if model is not None:
        stored["model"] = WHOLE.encode(model, rng=stream(0))
    place.state.save(place.name, {**memory.stored, **kept, **stored})


def _remember(place: Place, run: str) -> _Memory:
    stored = place.state.load(place.name)
    about = json.loads(stored.get("about", b"{}"))
    if about.get("run") != run:
        raise Refusal(f"run {run!r} is not known here: say hello first")
    plan = plan_from_json(stored["config"].decode())
    channel = None
    if plan.config.envelope.enabled:
        channel = Channel(key_pair_from_bytes(stored["key"]), bytes.fromhex(about["server_key"]), run)
    head = about.get("head", "")
    return _Memory(run, plan, about["session"], channel, about["holds"], about["replied"], head, stored)


def _open(memory: _Memory, frame: Frame, name: str, round_number: int) -> bytes:
    if len(frame.parts) != 1:
        raise MessageError(f"expected one sealed part, got {len(frame.parts)}")
    if memory.channel is None:
        return frame.parts[0]
    digest = memory.plan.downlink.digest()
    return memory.channel.open(frame.parts[0], Header(memory.run, round_number, SERVER, name, "downlink", digest))


def _seal(memory: _Memory, reply: bytes, name: str, round_number: int, began: float) -> Frame:
    if memory.channel is not None:
        digest = memory.plan.uplink.digest()
        reply = memory.channel.seal(reply, Header(memory.run, round_number, name, SERVER, "uplink", digest))
    header: dict[str, str | int | float] = {"client": name, "round": round_number}
    if memory.plan.config.server.upload_seconds is not None:
        header["busy"] = round(time.monotonic() - began, 4)
    return Frame(header, (reply,))


def _receive_model(memory: _Memory, inner: Frame) -> Arrays:
    """Decode the released model: whole, or by deltas from exactly the version that this client holds."""
    base = inner.text("base")
    if not base:
        if len(inner.parts) != 1:
            raise MessageError(f"expected one whole model, got {len(inner.parts)} parts")
        model = WHOLE.decode(inner.parts[0])
    elif base != memory.holds:
        raise Refusal(f"deltas from model {base} cannot be decoded: {memory.holds or 'none'} is held here")
    else:
        held = WHOLE.decode(memory.stored["model"]) if "model" in memory.stored else memory.plan.initial_model()
        model = apply_deltas(held, inner.parts, memory.plan.downlink.decode)
    if model_name(model) != inner.text("digest"):
        raise Refusal(f"the decoded model is not version {inner.number('version')}: its digest differs")
    return model


def _max_bytes(plan: Plan, place: Place, inner: Frame) -> int | None:
    """Return what an update may cost: the least of what the device, the config and the server's measurement say."""
    by_config = plan.config.clients.uplink_bytes
    limits = [place.uplink_bytes, by_config[place.index % len(by_config)] if by_config else None]
    if "max_bytes" in inner.header:
        limits.append(inner.number("max_bytes"))
    return min((limit for limit in limits if limit is not None), default=None)


def _own_part(plan: Plan, place: Place, model: Arrays) -> tuple[Arrays, dict[str, int]]:
    """Return what this client trains of the released model, and what the server is told of it: a public number."""
    width = plan.width_of(place.index)
    narrow = plan.narrow_of(width)
    return model if narrow is None else narrow.slices.take(model), {} if width is None else {"width": width}


def _thin(plan: Plan, place: Place, update: PrivateUpdate | Arrays) -> PrivateUpdate | Arrays:
    """Return the update without what training has added to weights that stay zero: post-processing, if it is noised."""
    if isinstance(update, PrivateUpdate):
        return update.post_process(lambda arrays: plan.thinned(arrays, place.index))
    return plan.thinned(update, place.index)


def _encoder_memory(memory: _Memory) -> dict[str, Array]:
    """Return what the codec kept from this client's last payload of this run."""
    return WHOLE.decode(memory.stored["memory"]) if "memory" in memory.stored else {}


def _protected_update(
    memory: _Memory, place: Place, model: Arrays, round_number: int, inner: Frame
) -> tuple[PrivateUpdate | Arrays, dict[str, int]]:
    """Train on this client's rows, and return the update with what is told beside it.

    The number of examples is told where no privacy is claimed. Under mode ``central`` the update is bounded and not
    noised, and where the bound moves one bit says whether it was long: the server is trusted with both, nobody else is.
    """
    plan = memory.plan
    module = plan.client_module(place.index)
    set_arrays(module, model)
    split = plan.client_split(place.index)
    with single_thread():
        if plan.config.privacy.mode == "local":
            return _private_update(memory, place, module, split, round_number), {}
        if by_example(plan.config):
            return _gradient_sum(plan, module, split), {}
        settings = plan.config.training
        result = train_plain(
            module,
            split,
            loss=plan.task.loss,
            local_steps=settings.local_steps,
            local_epochs=settings.local_epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            precision=settings.precision,
            optimizer=settings.optimizer,
            rng=stream(plan.config.seed, "train", place.name, round_number),
        )
    if plan.central:
        # the server clips again what it decodes; clipped here, one client's scale does not spoil what codecs do
        moving = adaptive_clip(plan.config) is not None
        mechanism = server_mechanism(plan.config, inner.real("clipping_norm") if moving else None)
        headroom = plan.config.privacy.clipping_headroom
        wider = mechanism if headroom == 1 else replace(mechanism, clipping_norm=headroom * mechanism.clipping_norm)
        clipped, norm = wider.clip(result.update)
        return clipped, {"within": int(norm <= mechanism.clipping_norm)} if moving else {}
    return result.update, {"num_examples": result.num_examples}


def _gradient_sum(plan: Plan, module: nn.Module, split: Split) -> Arrays:
    """Return the sum of clipped gradients of one Poisson batch, for the server of mode ``central`` alone to see."""
    privacy = plan.config.privacy
    sampler = PoissonSampler(len(split), privacy.sampling_probability, steps=1)
    bound = privacy.max_grad_norm
    return training.clipped_gradient_sum(module, split, loss=plan.task.loss, sampler=sampler, max_grad_norm=bound)


def _private_update(memory: _Memory, place: Place, module: nn.Module, split: Split, round_number: int) -> PrivateUpdate:
    """Charge the ledger, then train. A round that was charged and then lost to a kill is trained under its charge."""
    plan = memory.plan
    privacy = plan.config.privacy
    if plan.round_event is None or privacy.noise_multiplier is None or privacy.nominal_examples is None:
        raise Refusal("a private mode without noise or without nominal_examples is not trained")
    budget = place.policy.budget(plan.budget, privacy.delta)
    _account(memory, place).charge(round_number, budget, memory.head)
    update = training.train_private(
        module,
        split,
        loss=plan.task.loss,
        sampler=PoissonSampler(len(split), privacy.sampling_probability, plan.local_steps),
        nominal_examples=privacy.nominal_examples,
        max_grad_norm=privacy.max_grad_norm,
        noise_multiplier=privacy.noise_multiplier,
        learning_rate=plan.config.training.learning_rate,
    )
    if update.event != plan.round_event:
        raise Refusal(f"trained as {update.event}, but charged as {plan.round_event}: the update does not leave")
    return update


def _encode(
    plan: Plan,
    protected: tuple[PrivateUpdate | Arrays, dict[str, int]],
    name: str,
    round_number: int,
    context: CodecContext,
) -> tuple[bytes, dict[str, Array]]:
    """Return the reply before it is sealed, and what the codec keeps for the next one."""
    update, header = protected
    if plan.private and not plan.central and not isinstance(update, PrivateUpdate):
        raise Refusal("an update that is not noised does not leave, unless the server is trusted to noise it")
    arrays = update.arrays if isinstance(update, PrivateUpdate) else update
    rng = stream(plan.config.seed, "uplink", name, round_number)
    context = replace(context, importance=importance_of(plan.uplink, context.reference or {}, arrays))
    payload, kept = plan.uplink.advance(arrays, rng, context)
    return pack(Frame(header, (payload,))), kept
