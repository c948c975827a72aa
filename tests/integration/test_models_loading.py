"""Versions as models on a real platform, by their refs: what was published, bit for bit, or nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from events.objects.address import blob_name
from forgelog import AsyncClient
from forgelog.errors import InvalidInput, NotFound, Unavailable
from tests.integration.cluster import Cluster


async def test_a_version_is_loaded_by_its_refs_and_not_with_a_flipped_byte(
    client: AsyncClient, platform: Cluster, tmp_path: Path
) -> None:
    for kind in ("arrays", "pickle"):
        (tmp_path / kind).mkdir()
    np.savez(tmp_path / "arrays/weights.npz", w=np.arange(3))
    (tmp_path / "pickle/model.pkl").write_bytes(pickle.dumps({"w": [0, 1, 2]}))
    await client.models.register("loaded")
    await client.models.create_version("loaded", folder=tmp_path / "arrays")
    warned = await client.models.create_version("loaded", folder=tmp_path / "pickle", model_format="pickle")
    assert "is a pickle" in warned.warnings[0]
    await client.models.set_alias("loaded", "champion", 1)

    for ref in ("loaded@champion", "loaded/1"):
        model = await client.models.load(ref, into=tmp_path / "one")
        assert model["w"].tolist() == [0, 1, 2]
    with pytest.raises(InvalidInput, match="is a pickle: to load it runs what its author wrote"):
        await client.models.load("loaded", into=tmp_path / "one")
    assert await client.models.load("loaded", into=tmp_path / "one", trust_pickle=True) == {"w": [0, 1, 2]}
    for ref, told in {
        "loaded/7": "no version 7 of model 'loaded'",
        "loaded@best": "no version with alias 'best' of model 'loaded'",
        "loaded:prod": "no version live in 'prod' of model 'loaded'",
    }.items():
        with pytest.raises(NotFound, match=told):
            await client.models.load(ref, into=tmp_path / "none")

    (file,) = await client.models.files("loaded@champion")
    blob = platform.folder / "objects" / blob_name(file.digest)
    intact = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    with pytest.raises(Unavailable, match=f"The object blake3:{file.digest} is damaged"):
        await client.models.load("loaded@champion", into=tmp_path / "two")
    assert not list((tmp_path / "two").iterdir())
    blob.write_bytes(intact)
