"""What the server can do; what a model of it cannot, is found out when it is asked."""

from __future__ import annotations

from types import MappingProxyType

from xrouter.domain.abilities import Features

FEATURES: Features = MappingProxyType(
    {
        "streaming": "native",
        "stream_usage": "native",
        "system": "native",
        "late_system": "emulated",
        "tools": "native",
        "parallel_tools": "native",
        "parallel_tools_off": "emulated",
        "tool_choice_none": "native",
        "tool_choice_required": "native",
        "tool_choice_named": "emulated",
        "json_object": "native",
        "json_schema": "native",
        "vision": "native",
        "image_urls": "native",
        "files": "refused",
        "audio_input": "native",
        "audio_output": "dropped",
        "reasoning": "native",
        "stop": "native",
        "n": "native",
        "max_tokens": "native",
        "temperature_zero": "native",
        "top_p": "native",
        "penalties": "native",
        "seed": "native",
        "logprobs": "native",
        "logit_bias": "native",
        "prediction": "dropped",
        "custom_tools": "refused",
        "embeddings": "native",
        "dimensions": "dropped",
        "count_tokens": "native",
    }
)
"""Tools are emulated for templates that know none, late system messages sent as they are to those
that take them."""
