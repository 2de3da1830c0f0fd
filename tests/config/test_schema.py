"""The printed schema is what is accepted."""

import pytest
import yaml
from short_files import MOLECULE_TRAIN

from onestep_md.config import Config, load_config, schema_text
from onestep_md.config.defaults import Default
from onestep_md.config.section import Choice, choice_of, default_rule, is_needed, models_of


def fields(model=Config, prefix="", choice=None):
    """Every key of every model; of a choice between models, the choice."""
    for name, field in model.model_fields.items():
        for part in models_of(field):
            yield from fields(part, f"{name}.", choice_of(field))
        if models_of(field) and (chosen := choice_of(field)):
            yield f"{name}.{chosen.key}", chosen
        elif not models_of(field) and not (choice and choice.key == name):
            yield prefix + name, field


@pytest.mark.parametrize(("name", "field"), list(fields()))
def test_schema_names_and_explains_every_key(name, field):
    assert field.description and field.description.endswith(".")
    assert field.description[:20] in schema_text()
    assert f"{name.rpartition('.')[2]}:" in schema_text()


def test_schema_is_yaml_with_the_defaults_and_units(write):
    listing, text = yaml.safe_load(schema_text()), " ".join(schema_text().split("\n"))
    text = " ".join(text.replace("#", " ").split())
    for name, field in fields():
        section, _, key = name.rpartition(".")
        listed = listing[section][key] if section else listing[key]
        if isinstance(field, Choice):
            rule, default = field.default, field.default
        else:
            rule = default_rule(field)
            default = None if is_needed(field) or rule else field.default
        if isinstance(rule, Default):  # it depends on other keys, so the listing says on which
            assert listed is None and f"Default: {rule.words}." in text
        else:
            assert listed == (list(default) if isinstance(default, tuple) else default)
    defaults = Config.model_validate(
        {"target": {"pdb": "a", "forcefield": ["b"], "temperature": 300}}
    ).model_dump(mode="json")
    for section in ("cluster", "regions", "seed"):
        assert listing[section] == defaults[section]
    for section in ("exploration", "flow", "train", "sample"):
        assert defaults[section].keys() <= listing[section].keys()
    assert (
        "  temperature:                  # number > 0, K, kind: molecule, required"
        in schema_text()
    )
    assert (
        "  dim:                          # whole number >= 1, kind: python, requ" in schema_text()
    )
    assert max(map(len, schema_text().splitlines())) < 100
    assert "  timestep: 2.0                 # number > 0 and <= 5, fs" in schema_text()


def test_schema_listing_completed_with_required_keys_loads(write):
    options = ["target.pdb=a.pdb", "target.forcefield=[b.xml]", "target.temperature=300"]
    assert load_config(write(schema_text()), options).train == MOLECULE_TRAIN
    options = ["target.kind=density", "target.name=gmm9"]
    assert load_config(write(schema_text()), options).flow.coordinates == "flat"
