"""The printed schema is what is accepted."""

import pytest
import yaml
from pydantic import BaseModel
from short_files import MOLECULE_TRAIN

from onestep_md.config import Config, load_config, schema_text


def fields(model=Config, prefix=""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{name}.")
        else:
            yield prefix + name, field


@pytest.mark.parametrize(("name", "field"), list(fields()))
def test_schema_names_and_explains_every_key(name, field):
    assert field.description and field.description.endswith(".")
    assert field.description[:20] in schema_text()
    assert f"{name.rpartition('.')[2]}:" in schema_text()


def test_schema_is_yaml_with_the_defaults_and_units(write):
    listing = yaml.safe_load(schema_text())
    defaults = Config.model_validate(
        {"target": {"pdb": "a", "forcefield": ["b"], "temperature": 300}}
    ).model_dump(mode="json")
    # their defaults depend on the target, so the listing leaves them empty
    for values in (defaults, listing):
        del values["exploration"]["temperatures"], values["exploration"]["method"]
        del values["flow"]["coordinates"], values["sample"]["auxiliaries"]
        del values["sample"]["n_one_step"]
        for key in ("layers", "width"):
            del values["flow"][key]
        sizes = ("pretraining", "steps", "batch", "regression_batch", "buffer", "learning_rate")
        weights = ("likelihood_weight", "flow_weight", "state_weight", "volume_weight")
        for key in (*sizes, *weights, "step_shares"):
            del values["train"][key]
    for section in ("exploration", "flow", "train", "cluster", "sample", "regions", "seed"):
        assert listing[section] == defaults[section]
    assert "  temperature:                  # number > 0, K, required for a m" in schema_text()
    assert "  dim:                          # whole number >= 1, required for a p" in schema_text()
    assert max(map(len, schema_text().splitlines())) < 100
    assert "  timestep: 2.0                 # number > 0 and <= 5, fs" in schema_text()


def test_schema_listing_completed_with_required_keys_loads(write):
    options = ["target.pdb=a.pdb", "target.forcefield=[b.xml]", "target.temperature=300"]
    assert load_config(write(schema_text()), options).train == MOLECULE_TRAIN
    options = ["target.kind=density", "target.name=gmm9"]
    assert load_config(write(schema_text()), options).flow.coordinates == "flat"
