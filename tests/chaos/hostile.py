"""Tasks that attack what watches over them, and their own folders. Each tells the witness that it ran, and does harm.

Every script runs as the agent's own user, so it may reach all that the agent may: the test is that the harm stays
with the task's own attempt, and that the attempts are as many as the job's policy allows.
"""

from __future__ import annotations

from dataclasses import dataclass

WITNESSED = """
exec 9>>"$WITNESS/$FORGELOG_JOB.$FORGELOG_TASK.lock"
flock -n 9 || echo "overlap $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
for what in start end; do echo "$what $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"; done
notes="$(dirname "$(dirname "$(dirname "$PWD")")")/tasks/$FORGELOG_ALLOCATION-$FORGELOG_TASK-$FORGELOG_ATTEMPT"
test -d "$notes" || exit 99
"""
"""How each begins; it then knows where its warden keeps its notes, and fails where it does not."""

COMPLETED, FAILED = ("JobCompleted",), ("JobFailed",)


@dataclass(frozen=True, slots=True)
class Harm:
    """What a task does, and how its job must end."""

    name: str
    script: str
    ends: tuple[str, ...]


HARMS = (
    Harm("kill the warden", "kill -9 $PPID; sleep 600", FAILED),
    Harm("terminate the warden", "kill $PPID; kill -INT $PPID; kill -HUP $PPID; sleep 0.3", COMPLETED),
    Harm("stop the warden", "kill -STOP $PPID", COMPLETED),
    Harm("hide from a killed warden", "env -i setsid sleep 600 & sleep 1.2; kill -9 $PPID; sleep 600", FAILED),
    Harm("leave a daemon", "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &", COMPLETED),
    Harm("leave many", "for i in 1 2 3 4 5 6 7 8; do setsid sleep 600 & done", COMPLETED),
    Harm("remove the own folder", 'cd ..; rm -rf ./*; rm -rf "$PWD"', COMPLETED),
    Harm("remove the notes", 'rm -rf "$notes"', FAILED),
    Harm("remove all and live on", 'cd /; rm -rf "$notes" "$OLDPWD/.."; sleep 1', FAILED),
    Harm("forge a loss", """echo '{"reason": "lost", "ended_at": 1}' > "$notes/exit.json"; kill -9 $PPID""", FAILED),
    Harm("forge nonsense", 'for n in task started exit; do echo "[[" > "$notes/$n.json"; done; kill -9 $PPID', FAILED),
    Harm("a pipe as a note", 'mkfifo "$notes/exit.json"; kill -9 $PPID', FAILED),
    Harm(
        "forge a drain, once",
        """[ "$FORGELOG_ATTEMPT" -gt 1 ] || {
            echo '{"reason": "stopped", "grace": 0, "message": ""}' > "$notes/stop.json"; kill $PPID; sleep 600; }""",
        COMPLETED,
    ),
    Harm("dig", "python3 -c \"import os\nfor _ in range(1500): os.mkdir('folder'); os.chdir('folder')\"", COMPLETED),
    Harm("lock the folder", "mkdir -p a/b/c; touch a/b/c/d; chmod 000 a/b/c a/b a . ..", COMPLETED),
    Harm("odd names", "mkdir -- '-rf' '\n' \"$(printf '\\377')\"; ln -s / root; mkfifo pipe", COMPLETED),
)
