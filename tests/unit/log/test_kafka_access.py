"""How Kafka clients get in: one file, one place, and no password where it does not belong."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest_v0

from events.log.access import client_options, options_of, parse, written
from events.process.settings import Settings, SettingsError
from forgelog.embedded.kafka_users import _AlterScramStruct

ROOT = Path(__file__).parents[3]
SECRET = "s3cr=t value#"


def file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "client.conf"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_a_file_a_client_says_nothing_of_who_it_is() -> None:
    assert client_options(Settings(kafka="one:9092,two:9092", kafka_config=None)) == {
        "bootstrap_servers": "one:9092,two:9092"
    }


def test_a_file_that_was_written_here_leads_in(tmp_path: Path) -> None:
    config = file(tmp_path, written("here:1", "me", SECRET, "PLAIN"))
    assert client_options(Settings(kafka="here:2", kafka_config=config)) == {
        "bootstrap_servers": "here:2",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "me",
        "sasl_plain_password": SECRET,
    }


def test_a_file_of_a_clusters_own_is_read_as_librdkafka_does(tmp_path: Path) -> None:
    config = file(
        tmp_path,
        "# from our operators\n"
        "bootstrap.servers=broker:9093\n\n"
        "security.protocol = sasl_ssl\n"
        "sasl.mechanisms=SCRAM-SHA-512\n"
        "sasl.username=me\n"
        f"sasl.password={SECRET}\n"
        "session.timeout.ms=45000\n",
    )
    options = options_of(config)
    assert options.pop("ssl_context").check_hostname
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": SECRET,
    }


USER = f"sasl.username=me\nsasl.password={SECRET}\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (USER, "sasl.mechanism should be one of PLAIN"),
        (f"sasl.mechanism=GSSAPI\n{USER}", "sasl.mechanism should be one of PLAIN"),
        (f"sasl.mechanism=PLAIN\nsasl.password={SECRET}\nsecurity.protocol=SASL_SSL\n", "sasl.username is missing"),
        ("sasl.mechanism=PLAIN\nsasl.username=me\n", "sasl.password is missing"),
        (f"security.protocol=SSL\nsasl.mechanism=PLAIN\n{USER}", "SASL_SSL"),
        (f"security.protocol=TLS\n{USER}", "security.protocol should be one of PLAINTEXT"),
        (f"enable.ssl.certificate.verification=false\n{USER}", "enable.ssl.certificate.verification can't be used"),
        (f"sasl.oauthbearer.config={SECRET}\n", "sasl.oauthbearer.config can't be used here"),
        (f"{USER}{USER}", "sasl.username is given twice"),
        (f"{SECRET.replace('=', '')}\n", "line 1 is not name=value"),
        ("security.protocol=SSL\nssl.ca.location=/nowhere.pem\n", "ssl.ca.location: No such file"),
        ("security.protocol=SSL\nssl.certificate.location=/nowhere.pem\n", "ssl.certificate.location"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_and_no_secret_shown(text: str, named: str, tmp_path: Path) -> None:
    config = file(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        client_options(Settings(kafka="here:1", kafka_config=config))
    said = str(refused.value)
    assert said.startswith(f"FORGELOG_KAFKA_CONFIG: {config}: ")
    assert named in said
    assert SECRET not in said
    assert "s3cr" not in said


def test_a_file_that_others_can_read_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can be read by other users"):
        options_of(file(tmp_path, USER, 0o644))
    with pytest.raises(SettingsError, match="FORGELOG_KAFKA_CONFIG: there is no"):
        options_of(tmp_path / "none")


def test_values_may_have_any_character_but_a_line_break() -> None:
    assert parse("sasl.password= a=b#c \\ \n")["sasl.password"] == "a=b#c \\"


def test_one_place_makes_the_options_of_every_client() -> None:
    where = [
        str(path.relative_to(ROOT))
        for folder in ("events", "services", "forgelog")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"bootstrap_servers|sasl_plain_password", path.read_text())
    ]
    others = {
        "forgelog/embedded/kafka.py": "takes them apart, to ask each broker",
        "forgelog/embedded/security.py": "asks as nobody, to see whether that is refused",
        "forgelog/pipelines/io/topics.py": "makes them of a connection that a user of pipelines names",
        "services/deployments/windows/application.py": "gives them to Faust in its words",
    }
    assert sorted(where) == ["events/log/access.py", *others]


def test_clients_log_no_password(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("aiokafka.conn")
    with caplog.at_level(logging.DEBUG, logger="aiokafka.conn"):
        log.warning("Sending username and password in the clear")
        log.debug("Request to %s:%d %d: %s", "here", 1, 2, SaslAuthenticateRequest_v0(b"\0me\0" + SECRET.encode()))
        password = _AlterScramStruct([], [("me", 2, 4096, b"salt", SECRET.encode(), {})], {})
        log.debug("Request to %s:%d %d: %s", "here", 1, 3, password)
        log.debug("Request to %s:%d", "here", 1)
    assert caplog.messages == ["Request to here:1"]
