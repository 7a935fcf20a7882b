#!/usr/bin/python3
"""A contender of run_peers.py: training steps of a classifier in PyTorch on the CPU.

The work of train_step_bench: encoder, maximum and average pooling, a linear layer, cross entropy,
backward, SGD with momentum, on one fixed batch of random images. Prints a JSON object with the
milliseconds of each step. Run alone:  train_step.py --arch res2next50 --size 96 --layout nhwc
"""

import steps


def main():
    parser = steps.parser(__doc__)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    torch = steps.need_torch(options)
    import networks

    encoder, features, network = networks.make_encoder(options.arch)
    head = torch.nn.Linear(features, options.classes, bias=False)
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.arange(options.batch) % options.classes
    model, (images,) = steps.laid_out(torch, options, torch.nn.Sequential(encoder, head).train(),
                                      [images])

    def loss():
        with steps.autocast(torch, options):
            logits = model(images)
        return torch.nn.functional.cross_entropy(logits.float(), labels)

    steps.time_steps(torch, options, model, loss, network)


if __name__ == "__main__":
    main()
