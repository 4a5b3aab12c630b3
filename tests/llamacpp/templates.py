"""Chat templates with the rules of well-known models, for a real server.

They are written anew, but raise what the originals raise, under the same conditions.
"""

from __future__ import annotations

_TURNS = """\
{%- for message in turns %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{{- '<|im_start|>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{%- if loop.first %}{{- prefix }}{%- endif %}
{%- if message.content is string %}{{- message.content | trim }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'text' %}{{- part.text | trim }}{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>model\\n' }}{%- endif %}
"""

GEMMA_2 = (
    """\
{%- if messages[0].role == 'system' %}
{{- raise_exception('System role not supported') }}
{%- endif %}
{%- set prefix = '' %}
{%- set turns = messages %}
"""
    + _TURNS
)
"""No system message, strict turns, no tools."""

GEMMA_3 = (
    """\
{%- if messages[0].role == 'system' %}
{%- if messages[0].content is string %}
{%- set prefix = messages[0].content + '\\n\\n' %}
{%- else %}
{%- set prefix = messages[0].content[0].text + '\\n\\n' %}
{%- endif %}
{%- set turns = messages[1:] %}
{%- else %}
{%- set prefix = '' %}
{%- set turns = messages %}
{%- endif %}
"""
    + _TURNS
)
"""The system message joins the first turn; strict turns, no tools."""

MISTRAL = """\
{%- if messages[0].role == 'system' %}
{%- set system = messages[0].content %}
{%- set turns = messages[1:] %}
{%- else %}
{%- set turns = messages %}
{%- endif %}
{%- set asked = turns | selectattr('role', 'equalto', 'user') | list %}
{%- set ns = namespace(index=0) %}
{%- for message in turns %}
{%- if not (message.role == 'tool' or (message.tool_calls is defined and message.tool_calls is not none)) %}
{%- if (message.role == 'user') != (ns.index % 2 == 0) %}
{{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- set ns.index = ns.index + 1 %}
{%- endif %}
{%- endfor %}
{%- for message in turns %}
{%- if message.role == 'user' %}
{%- if tools and message == asked[-1] %}
{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}
{%- endif %}
{{- '[INST]' }}
{%- if loop.last and system is defined %}{{- system + '\\n\\n' }}{%- endif %}
{{- message.content + '[/INST]' }}
{%- elif message.tool_calls is defined and message.tool_calls is not none %}
{{- '[TOOL_CALLS][' }}
{%- for call in message.tool_calls %}
{%- if call.id is not defined or call.id | length != 9 %}
{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
{%- endif %}
{{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' }}
{{- ']' if loop.last else ', ' }}
{%- endfor %}
{%- elif message.role == 'assistant' %}
{{- message.content + '<|im_end|>' }}
{%- elif message.role == 'tool' %}
{%- if message.tool_call_id is not defined or message.tool_call_id | length != 9 %}
{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
{%- endif %}
{{- '[TOOL_RESULTS]{"content": ' + (message.content | tojson) + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- else %}
{{- raise_exception('Only user and assistant roles are supported!') }}
{%- endif %}
{%- endfor %}
"""  # noqa: E501 - a template's lines
"""An optional system message, strict turns beside tools, ids of nine letters and digits."""

NO_TOOLS = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
"""Any order, but nothing about tools."""
