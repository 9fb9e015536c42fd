"""Figures of a benchmark as text: medians, ratios to one nginx worker, plain and markdown tables. Measures nothing."""

import statistics

REFERENCE = "nginx1"


def summary(samples, scenarios, peers):
    """samples[scenario][peer] = one dict per round -> the same with medians. A ratio is taken within each round, then its median."""
    result = {}
    for scenario in scenarios:
        reference = samples[scenario].get(REFERENCE)
        for peer in (peer for peer in peers if peer in samples[scenario]):
            rounds = samples[scenario][peer]
            row = {key: statistics.median(sample[key] for sample in rounds) for key in ("rate", "p50", "p99", "cpu", "user")}
            if reference:
                for key in ("rate", "cpu", "p50"):
                    pairs = [(own[key], theirs[key]) for own, theirs in zip(rounds, reference) if theirs[key]]
                    row[f"{key} ratio"] = statistics.median(own / theirs for own, theirs in pairs) if pairs else None
            row["bad"] = sum(sum(sample["bad"].values()) for sample in rounds)
            result[scenario, peer] = row
    return result


def detail(result, scenarios, titles):
    """Everything, one block per scenario, for a terminal."""
    lines = []
    for scenario, title in scenarios.items():
        columns = f"{'req/s':>9} {'p50 us':>8} {'p99 us':>8} {'CPU us':>8} {'of it user':>10}"
        lines += ["", title, f"  {'':20} {columns} | to nginx: {'req/s':>5} {'CPU':>5} {'p50':>5}"]
        for peer, name in titles.items():
            row = result.get((scenario, peer))
            if not row:
                continue
            ratios = " ".join(f"{ratio(row.get(f'{key} ratio')):>5}" for key in ("rate", "cpu", "p50"))
            bad = f"  {row['bad']} FAILED" if row["bad"] else ""
            figures = f"{row['rate']:9.0f} {row['p50']:8.0f} {row['p99']:8.0f} {row['cpu']:8.2f} {row['user']:10.2f}"
            lines.append(f"  {name:20} {figures} |           {ratios}{bad}")
    return "\n".join(lines)


def markdown(result, scenarios, titles, memory):
    """Two tables for a README: cost and speed."""
    header = ["| | " + " | ".join(titles.values()) + " |", "| --- |" + " ---: |" * len(titles)]
    lines = ["CPU of the proxy, microseconds per request (to one nginx worker)", "", *header]
    for scenario, title in scenarios.items():
        rows = (result.get((scenario, peer)) for peer in titles)
        cells = [with_ratio(f"{row['cpu']:.1f}", row.get("cpu ratio")) if row else "" for row in rows]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if memory:
        cells = [f"{memory[peer]['per connection']:.0f}" if peer in memory else "" for peer in titles]
        lines.append("| user memory per idle kept connection, bytes | " + " | ".join(cells) + " |")
        cells = [f"{memory[peer]['at rest'] / 1e6:.1f}" if peer in memory else "" for peer in titles]
        lines.append("| resident at rest, MB | " + " | ".join(cells) + " |")
    lines += ["", "Requests per second (to one nginx worker); p50 / p99 in microseconds", "", *header]
    for scenario, title in scenarios.items():
        cells = [
            f"{with_ratio(format(row['rate'], ',.0f'), row.get('rate ratio'))}; {row['p50']:.0f} / {row['p99']:.0f}" if row else ""
            for row in (result.get((scenario, peer)) for peer in titles)
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_ratio(text, value):
    return text if value is None else f"{text} ({ratio(value)})"


def ratio(value):
    return "" if value is None else f"{value:.2f}x"
