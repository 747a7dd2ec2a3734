# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a panel's ``draw`` without a window and refuses what Blender would only print while drawing."""

from types import SimpleNamespace

from headless import bpy

FUNCTIONS = bpy.types.UILayout.bl_rna.functions
PROPERTIES = bpy.types.UILayout.bl_rna.properties
CONTAINERS = {"row", "column", "box", "split", "column_flow", "grid_flow"}


class Recorder:
    """Stands in for UILayout: keeps the texts and properties, checks names, icons and operators."""

    def __init__(self, drawn=None, opened=()):
        object.__setattr__(self, "drawn", [] if drawn is None else drawn)
        object.__setattr__(self, "opened", opened)

    def __setattr__(self, name, value):
        assert name in PROPERTIES, f"UILayout has no property {name}"

    def __getattr__(self, name):
        assert name in FUNCTIONS, f"UILayout has no function {name}"
        return lambda *args, **kwargs: self._call(name, args, kwargs)

    def _call(self, name, args, kwargs):
        for key, value in kwargs.items():
            parameter = FUNCTIONS[name].parameters.get(key)
            assert parameter or key == "text_ctxt", f"{name} has no argument {key}"
            if key == "icon":
                assert value in {item.identifier for item in parameter.enum_items}, f"no icon {value}"
        if name in CONTAINERS:
            return Recorder(self.drawn, self.opened)
        if name == "panel":
            is_closed = kwargs.get("default_closed") and args[0] not in self.opened
            return Recorder(self.drawn), None if is_closed else Recorder(self.drawn, self.opened)
        if name == "operator":
            kind = getattr(bpy.ops.protome, args[0].removeprefix("protome.")).get_rna_type()
            self.drawn.append(kwargs.get("text", kind.name))
            return SimpleNamespace()
        if name in ("prop", "template_ID"):
            owner, prop = args
            self.drawn.append(kwargs.get("text") or owner.bl_rna.properties[prop].name)
        elif kwargs.get("text"):
            self.drawn.append(kwargs["text"])
        return None


def draw(panel, opened=()):
    """What the panel puts on screen, in order, these of its closed parts opened; None when it is not shown."""
    if hasattr(panel, "poll") and not panel.poll(bpy.context):
        return None
    layout = Recorder(opened=opened)
    panel.draw(SimpleNamespace(layout=layout, bl_rna=panel.bl_rna), bpy.context)
    return layout.drawn
