"""Gossip among 200 peers: rounds until all have heard, over many seeds, against log2 n + ln n (Pittel, 1987)."""

import statistics

from state.gossip import enough, expected, spread, told

PEERS, SEEDS = 200, 100


def rounds(peers: int, fanout: int, seed: int) -> int:
    """Rounds until all have heard what one of them knew."""
    names = [f"peer{n}" for n in range(peers)]
    knows = {name: [other for other in names if other != name] for name in names}
    heard: dict[str, list[str]] = {names[0]: ["news"]}
    count = 0
    while len(heard) < peers:
        count += 1
        heard = spread(heard, told(heard, knows, fanout=fanout, seed=seed, round=count))
    return count


def measure() -> list[tuple[int, float, int, float, int]]:
    """Rows of (fanout, mean rounds, most rounds, theory for a fanout of 1, our bound)."""
    out = []
    for fanout in (1, 2, 3):
        took = [rounds(PEERS, fanout, seed) for seed in range(SEEDS)]
        out.append((fanout, statistics.mean(took), max(took), expected(PEERS), enough(PEERS)))
    return out


def main() -> None:
    """Print the table."""
    print(f"{PEERS} peers, {SEEDS} seeds: rounds until all have heard")
    print(f"{'fanout':>6} {'mean':>6} {'most':>5} {'log2 n + ln n':>14} {'bound':>6}")
    for fanout, mean, most, theory, bound in measure():
        print(f"{fanout:>6} {mean:>6.1f} {most:>5} {theory:>14.1f} {bound:>6}")


if __name__ == "__main__":
    main()
