"""Settings as daemons read them."""

from pydantic import BaseModel


def written(section: BaseModel) -> dict[str, str]:
    """What of a section differs from its defaults, as the settings file has it."""
    values = section.model_dump(exclude_defaults=True)
    return {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in values.items()
    }


def variables(name: str, section: BaseModel) -> dict[str, str]:
    """The same as variables of a daemon's environment; `name` is that of the section."""
    return {f"UCLOUD_{name}_{field}".upper(): value for field, value in written(section).items()}
