"""What each call of the scripts gives, and what it costs: worked out by hand from the prices written here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

_NANO = 10**9
_MILLION = 10**6
_CREDITS_PER_DOLLAR = 1_000

QUESTION_TOKENS = 3
ANSWER_TOKENS = 16
ANSWER = "The simulator answers every question with this same sentence."


@dataclass(frozen=True, slots=True)
class Consumed:
    """One line of an event: amounts by unit, each with its price in dollars for a million."""

    provider: str
    model: str
    amounts: tuple[tuple[str, int, str], ...]

    @property
    def quantities(self) -> dict[str, int]:
        return {unit: amount for unit, amount, _ in self.amounts}

    @property
    def charge_nanos(self) -> int:
        """The charge in nano-credits, at a thousand credits a dollar, rounded once."""
        parts = (Decimal(amount) * Decimal(price) / _MILLION for _, amount, price in self.amounts)
        dollars = sum(parts, Decimal(0))
        return int((dollars * _CREDITS_PER_DOLLAR * _NANO).to_integral_value(ROUND_HALF_EVEN))


def _tokens(provider: str, model: str, prices: tuple[str, str], *, output: int = ANSWER_TOKENS) -> Consumed:
    price_in, price_out = prices
    return Consumed(
        provider,
        model,
        (("input_tokens", QUESTION_TOKENS, price_in), ("output_tokens", output, price_out)),
    )


def _image(*, output: int, pictures: int = 0) -> Consumed:
    amounts = [("input_tokens", QUESTION_TOKENS, "5"), ("image_output_tokens", output, "40")]
    if pictures:
        amounts.append(("image_input_tokens", pictures, "10"))
    return Consumed("openai", "gpt-image-1", tuple(amounts))


_GPT_4O = _tokens("openai", "gpt-4o-2024-08-06", ("2.5", "10"))
_INSTRUCT = _tokens("openai", "gpt-3.5-turbo-instruct", ("1.5", "2"))
_GPT_5 = _tokens("openai", "gpt-5-2025-08-07", ("1.25", "10"))
_HAIKU = _tokens("anthropic", "claude-haiku-4-5", ("1", "5"))
_HAIKU_BATCH = _tokens("anthropic", "claude-haiku-4-5", ("0.5", "2.5"))
_FLASH = _tokens("google", "gemini-2.5-flash", ("0.3", "2.5"))
# Seven seconds of a hundred thousand bytes, ten tokens each.
_TRANSCRIBED = Consumed(
    "openai",
    "gpt-4o-transcribe",
    (("input_tokens", 0, "2.5"), ("output_tokens", ANSWER_TOKENS, "10"), ("audio_input_tokens", 70, "6")),
)
_BY_TIME = Consumed("openai", "whisper-1", (("audio_seconds", 7_000, "0.1"),))

#: Call -> the lines of the events that it is charged with, in any order.
CONSUMED: dict[str, tuple[Consumed, ...]] = {
    "chat": (_GPT_4O,),
    "chat_stream": (_GPT_4O,),
    "completion": (_INSTRUCT,),
    "completion_stream": (_INSTRUCT,),
    "response": (_GPT_5,),
    "response_stream": (_GPT_5,),
    "response_background": (_GPT_5,),
    "embedding": (Consumed("openai", "text-embedding-3-small", (("input_tokens", 6, "0.02"),)),),
    "embedding_float": (Consumed("openai", "text-embedding-3-small", (("input_tokens", 3, "0.02"),)),),
    "image": (_image(output=2 * 272),),
    "image_stream": (_image(output=272 + 100),),
    "image_by_size": (Consumed("openai", "dall-e-3", (("images", 1, "40000"),)),),
    "image_edit": (_image(output=272, pictures=323),),
    "image_edit_stream": (_image(output=272, pictures=323),),
    "image_variation": (Consumed("openai", "dall-e-2", (("images", 2, "16000"),)),),
    "transcription": (_TRANSCRIBED,),
    "transcription_stream": (_TRANSCRIBED,),
    "transcription_by_time": (_BY_TIME,),
    "translation": (_BY_TIME,),
    "speech": (Consumed("openai", "tts-1", (("characters", 12, "15"),)),),
    "speech_events": (_tokens("openai", "gpt-4o-mini-tts", ("0.6", "12"), output=30),),
    "batch": (_tokens("openai", "gpt-4o-2024-08-06", ("1.25", "5")),) * 2,
    "tool_call": (_tokens("openai", "gpt-4o-2024-08-06", ("2.5", "10"), output=4),),
    "message": (_HAIKU,),
    "message_stream": (_HAIKU,),
    "message_batch": (_HAIKU_BATCH,) * 2,
    "generate": (_FLASH,),
    "generate_stream": (_FLASH,),
    "embed": (Consumed("google", "gemini-embedding-2", (("input_tokens", 3, "0.2"),)),),
    "cached_generate": (
        Consumed(
            "google",
            "gemini-2.5-flash",
            (("input_tokens", 3, "0.3"), ("cache_read_tokens", 30, "0.03"), ("output_tokens", 16, "2.5")),
        ),
    ),
    "imagen": (Consumed("google", "imagen-4.0-generate-001", (("images", 2, "40000"),)),),
    "veo": (Consumed("google", "veo-2.0-generate-001", (("video_seconds", 6_000, "500"),)),),
    # Thinking, nine tokens of it, shows in the total alone.
    "shim_chat": (_tokens("google", "gemini-2.5-flash", ("0.3", "2.5"), output=ANSWER_TOKENS + 9),),
}

#: Call -> what the SDK hands to its user. None: something that differs from run to run.
ANSWERS: dict[str, object] = {
    **dict.fromkeys(
        (
            "chat",
            "chat_stream",
            "completion",
            "completion_stream",
            "response",
            "response_stream",
            "transcription",
            "transcription_stream",
            "transcription_by_time",
            "translation",
            "message",
            "message_stream",
            "generate",
            "generate_stream",
            "shim_chat",
        ),
        ANSWER,
    ),
    **dict.fromkeys(("speech", "speech_events", "models", "anthropic_models", "google_models"), True),
    "response_background": ["queued", "completed", ANSWER],
    "response_input_tokens": QUESTION_TOKENS,
    "embedding": 1_536,
    "embedding_float": 64,
    "image": 67,
    "image_stream": ["image_generation.partial_image", "image_generation.completed"],
    "image_by_size": None,
    "image_edit": 1,
    "image_edit_stream": ["image_edit.completed"],
    "image_variation": 2,
    "moderation": False,
    "model": "gpt-4o",
    "files": [True, 3, "{}\n", True],
    "batch": ["completed", ["one", "two"]],
    "tool_call": "get_weather",
    "count_tokens": QUESTION_TOKENS,
    "message_batch": ["ended", ["succeeded", "succeeded"]],
    "embed": 3_072,
    "google_count_tokens": QUESTION_TOKENS,
    "cached_generate": [ANSWER, 30],
    "imagen": 2,
    "veo": [True, 1],
}
#: The newest generation refuses these itself, before anything is sent.
REFUSED_BY_CURRENT = frozenset({"imagen", "veo"})
