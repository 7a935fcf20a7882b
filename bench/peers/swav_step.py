#!/usr/bin/python3
"""A contender of run_peers.py: SwAV steps in PyTorch on the CPU.

Encoder, projector, unit vectors, scores, codes by Sinkhorn over the batch, the loss of every code
against the other crops, backward, SGD with momentum, prototypes scaled back to unit length: the step
of swav_step_bench, on random crops made once. Written from the paper's equations (Caron et al. 2020,
arXiv:2006.09882, sec. 3, and the listing in its appendix), as facebook's own program does it.
Prints a JSON object with the milliseconds of each step.
"""

import steps


def make_model(torch, encoder, features, prototypes):
    """Encoder, projector and prototypes; prototypes start at unit length."""
    nn = torch.nn
    projector = nn.Sequential(nn.Linear(features, 2048), nn.BatchNorm1d(2048),
                              nn.ReLU(inplace=True), nn.Linear(2048, 128))
    model = nn.ModuleDict({"encoder": encoder, "projector": projector,
                           "prototypes": nn.Linear(128, prototypes, bias=False)}).train()
    normalize_prototypes(torch, model)
    return model


def normalize_prototypes(torch, model):
    with torch.no_grad():
        weight = model["prototypes"].weight
        weight.copy_(torch.nn.functional.normalize(weight))


def scores_of(torch, model, groups):
    """One row a crop, crops of one view together: groups are tensors of crops of one size."""
    features = torch.cat([model["encoder"](crops) for crops in groups])
    return model["prototypes"](torch.nn.functional.normalize(model["projector"](features)))


def codes_of(torch, scores, epsilon=0.05, iterations=3):
    """Sinkhorn-Knopp on exp(scores / epsilon): equal shares for the prototypes, one a sample."""
    plan = torch.exp((scores - scores.max()) / epsilon).t()
    plan = plan / plan.sum()
    prototypes, samples = plan.shape
    for _ in range(iterations):
        plan = plan / plan.sum(1, keepdim=True) / prototypes
        plan = plan / plan.sum(0, keepdim=True) / samples
    return (plan * samples).t()


def loss_of(torch, scores, batch):
    """Mean over the two code crops of the mean over all other crops; scores are float32."""
    views = scores.shape[0] // batch
    logs = torch.log_softmax(scores / 0.1, 1)
    loss = 0
    for crop in (0, 1):
        with torch.no_grad():
            code = codes_of(torch, scores[crop * batch:(crop + 1) * batch])
        for view in range(views):
            if view != crop:
                part = (code * logs[view * batch:(view + 1) * batch]).sum(1).mean()
                loss = loss - part / (2 * (views - 1))
    return loss


def random_crops(torch, crops, batch):
    """A tensor for each group of "COUNTxSIDE,..."."""
    groups = []
    for group in crops.split(","):
        count, side = map(int, group.split("x"))
        groups.append(torch.randn(count * batch, 3, side, side))
    return groups


def main():
    parser = steps.parser(__doc__)
    parser.add_argument("--crops", default="2x64,4x48")
    parser.add_argument("--prototypes", type=int, default=3000)
    options = parser.parse_args()
    torch = steps.need_torch(options)
    import networks

    encoder, features, network = networks.make_encoder(options.arch)
    model = make_model(torch, encoder, features, options.prototypes)
    model, groups = steps.laid_out(torch, options, model,
                                   random_crops(torch, options.crops, options.batch))

    def loss():
        with steps.autocast(torch, options):
            scores = scores_of(torch, model, groups)
        return loss_of(torch, scores.float(), options.batch)

    steps.time_steps(torch, options, model, loss, network,
                     after=lambda: normalize_prototypes(torch, model))


if __name__ == "__main__":
    main()
