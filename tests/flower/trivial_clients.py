"""A ClientApp that does what a message asks for, at a path that worker processes can import."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def make_app() -> ClientApp:
    return app


def not_an_app() -> str:
    return "a client app"


def ask(node: int, **asked: object) -> Message:
    """Return a message that asks node ``node`` for something; ``asked`` goes into its config."""
    arrays = ArrayRecord({"w": Array(np.arange(4, dtype=np.float32))})
    return Message(RecordDict({"arrays": arrays, "asked": ConfigRecord(asked)}), node, "train")


def told(reply: Message) -> ConfigRecord:
    """Return what a client answered."""
    return reply.content.config_records["told"]


@app.train()
def train(message: Message, context: Context) -> Message:
    asked = message.content.config_records["asked"]
    what = asked.get("do", "answer")
    seen = context.state.config_records.get("seen", ConfigRecord({"messages": 0}))
    seen["messages"] += 1
    if asked.get("remember"):
        context.state["seen"] = seen
        context.state["model"] = message.content["arrays"]
    if asked.get("forget"):
        context.state.clear()
    if what == "fail":
        raise RuntimeError("this client cannot train")
    if what == "exit":
        raise SystemExit(3)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        time.sleep(asked["seconds"])
    if what == "return nothing":
        return None
    if what == "return the message":
        return message
    if what == "interfere":
        asked["do"] = "fail"
        message.content["arrays"]["w"] = Array(np.zeros(4, dtype=np.float32))
        context.run_config["lr"] = 100.0
    if "mark" in asked:
        Path(asked["mark"]).touch()
    weights = message.content["arrays"]["w"].numpy() * np.float32(context.node_config["partition-id"] + 1)
    answer = {
        "node": context.node_id,
        "partition": context.node_config["partition-id"],
        "of": context.node_config["num-partitions"],
        "place": context.node_config.get("place", ""),
        "lr": context.run_config.get("lr", 0.0),
        "process": os.getpid(),
        "messages": seen["messages"],
    }
    arrays = ArrayRecord({"w": Array(weights)})
    return Message(RecordDict({"arrays": arrays, "told": ConfigRecord(answer)}), reply_to=message)
