"""Turns the measurements into a Markdown page."""


def mean(values):
    return sum(values) / len(values)


def failures(result):
    """(scenario, peer, why) of everything that went wrong."""
    found = [(scenario["name"], name, run["failure"]) for scenario in result["scenarios"]
             for name, peer in scenario["peers"].items() for run in peer["runs"] if "failure" in run]
    started = result["startup"]
    return found + ([("startup", "tidegate", started["failure"])] if started and "failure" in started else [])


def gateway_us(peer):
    """Mean CPU time per request over the runs, or None if one of them failed."""
    if any("failure" in run or "skipped" in run for run in peer["runs"]):
        return None
    return mean([run["cpu"]["gateway"] for run in peer["runs"]])


def scenario_table(scenario):
    envoy = scenario["peers"].get("envoy")
    reference = gateway_us(envoy) if envoy else None
    lines = [f"### {scenario['name']}: {scenario['title']}, {scenario['connections']} connections", "",
             "| peer | CPU µs per request | runs | × Envoy | requests/s | p50 µs | p99 µs | RSS MB | backend µs | load µs |",
             "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|"]
    for peer in scenario["peers"].values():
        us = gateway_us(peer)
        skipped = next((run["skipped"] for run in peer["runs"] if "skipped" in run), None)
        if skipped:
            lines.append(f"| {peer['title']} | **skipped: it refuses the configuration** | | | | | | | | |")
            continue
        if us is None:
            lines.append(f"| {peer['title']} | **failed** | | | | | | | | |")
            continue
        runs = peer["runs"]
        ratio = f"{us / reference:.3f}" if reference else ""
        lines.append(
            f"| {peer['title']} | **{us:.1f}** | {', '.join(f'''{run['cpu']['gateway']:.1f}''' for run in runs)} | {ratio} "
            f"| {mean([run['requests_per_second'] for run in runs]):,.0f} | {mean([run['p50_us'] for run in runs]):,.0f} "
            f"| {mean([run['p99_us'] for run in runs]):,.0f} | {max(run['rss_bytes'] for run in runs) / 1e6:.1f} "
            f"| {mean([run['cpu']['backend'] for run in runs]):.1f} | {mean([run['cpu']['load'] for run in runs]):.1f} |")
    lines += goal_lines(scenario)
    return "\n".join(lines) + "\n"


def goal_lines(scenario):
    """What is asked of tidegate in this scenario, and whether it was so."""
    goals, ours = scenario["goals"], scenario["peers"].get("tidegate")
    us = gateway_us(ours) if ours else None
    if not goals or us is None:
        return []
    checks = [(us, goals["us"], "µs")] if "us" in goals else []
    for name in ("nginx", "envoy"):
        peer = scenario["peers"].get(name)
        reference = gateway_us(peer) if peer and name in goals else None
        if reference:
            checks.append((us / reference, goals[name], f"× {peer['title']}"))
    if not checks:
        return []
    words = [f"≤ {goal:g} {unit}: {value:.2f}, {'met' if value <= goal else '**not met**'}" for value, goal, unit in checks]
    return ["", f"Goals for tidegate: {'; '.join(words)}. The ratio is the one that other load on the machine cannot blur."]


def startup_lines(started):
    if not started:
        return []
    if "failure" in started:
        return ["### start", "", f"**failed**: {started['failure']}", ""]
    rows = (("backend down, nothing remembered: first answer", started["alone"]),
            ("backend up, descriptors remembered: ready", started["ready"]))
    return [f"### start: `{started['config']}`", "",
            "| | ms after exec (goal < 50) | resident MB a second later (goal ≤ 12) |", "|---|---:|---:|",
            *[f"| {name} | {row['first_answer_ms']:.1f} | {row['rss_mb']:.1f} |" for name, row in rows], "",
            f"Medians of {started['runs']}.", ""]


def page(result):
    machine = result["machine"]
    problems = [f"- {scenario}, {peer}: {why}" for scenario, peer, why in failures(result)]
    return "\n".join([
        f"# Side by side, {result['date']}", "",
        f"`{result['command']}` at commit {result['commit']}, profile {result['profile']}, "
        f"{result['seconds']:g} s per run.", "",
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, {machine['rustc']}, load average before "
        f"{machine['load_average_before']:.1f}{'' if machine['pinned'] else ', **not pinned**'}.", "",
        *[f"- {name}: {version}" for name, version in result["versions"].items() if version], "",
        *(["## Failed", "", *problems, ""] if problems else []),
        "## Results", "",
        *[scenario_table(scenario) for scenario in result["scenarios"]],
        *startup_lines(result["startup"]),
    ])
