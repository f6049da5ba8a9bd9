import numpy as np
import torch

from fedcomp.tasks import load_task


def test_digits_can_be_learnt():
    task = load_task("digits")
    model, train, test = task.model(0), task.train(), task.test()
    assert (len(train), len(test)) == (1437, 360)
    assert not (set(map(bytes, train.inputs)) & set(map(bytes, test.inputs)))
    assert np.abs(train.inputs).max() <= 1
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    inputs, targets = torch.from_numpy(train.inputs), torch.from_numpy(train.targets)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(model(inputs), targets).mean().backward()
        optimizer.step()
    assert task.metric(model(torch.from_numpy(test.inputs)), torch.from_numpy(test.targets)) > 0.93


def test_sizes_of_the_models():
    task = load_task("digits")
    sizes = [sum(p.numel() for p in module.parameters()) for module in (task.model(0), task.student(0))]
    assert sizes == [2410, 1210]
