"""The codes, types and sentences of providers, and the reasons that they stand for. Data, each with its source."""

from __future__ import annotations

import re

from headwater_server.domain.errors import Reason

_CODES = {
    Reason.PROVIDER_AUTH_FAILED: (
        "invalid_api_key account_deactivated unsupported_country_region_territory "  # OpenAI
        "authentication_error permission_error "  # Anthropic
        "UNAUTHENTICATED PERMISSION_DENIED API_KEY_INVALID API_KEY_SERVICE_BLOCKED "  # Google
        "AccessDeniedException UnrecognizedClientException ExpiredTokenException InvalidSignatureException "  # AWS
        "invalid_authentication_error incorrect_api_key_error InvalidApiKey base_resp-1004 base_resp-2049"
    ),
    Reason.PROVIDER_RATE_LIMITED: (
        "rate_limit_exceeded rate_limit_error rate_limit_reached_error rate_limited RESOURCE_EXHAUSTED "
        "ThrottlingException TooManyRequestsException Throttling Throttling.RateQuota too_many_requests "
        "base_resp-1002 base_resp-1039 1302 1303"
    ),
    Reason.PROVIDER_QUOTA_EXHAUSTED: (
        "insufficient_quota credit_balance_exhausted billing_hard_limit_reached billing_not_active "  # OpenAI
        "enforced_spend_limit_reached billing_error "  # Anthropic
        "exceeded_current_quota_error Arrearage insufficient_user_quota insufficient_balance insufficient_credits "
        "BILLING_DISABLED ServiceQuotaExceededException payment_required quota_exceeded AllocationQuota "
        "Throttling.AllocationQuota base_resp-1008 1113"
    ),
    Reason.MODEL_NOT_FOUND: (
        "model_not_found DeploymentNotFound ModelNotFound model_not_exist unknown_model invalid_model 1211"
    ),
    Reason.CONTEXT_WINDOW_EXCEEDED: (
        "context_length_exceeded exceed_context_size_error context_window_exceeded context_window_exceeded_error "
        "tokens_limit_reached max_context_length_exceeded 1261"
    ),
    Reason.PROVIDER_UNAVAILABLE: (
        "server_error slow_down overloaded_error timeout_error engine_overloaded_error capacity_exceeded "
        "server_overloaded service_unavailable model_overloaded UNAVAILABLE DEADLINE_EXCEEDED "
        "ServiceUnavailableException ModelNotReadyException ModelTimeoutException InternalServerException "
        "ModelStreamErrorException ModelErrorException base_resp-1000 base_resp-1001 base_resp-1013 base_resp-1024 "
        "base_resp-1033 1305"
    ),
    Reason.PROVIDER_REJECTED_REQUEST: (
        "invalid_prompt content_filter content_policy_violation ResponsibleAIPolicyViolation data_inspection_failed "
        "base_resp-1026 base_resp-1027 base_resp-2013 1301"
    ),
}
"""Those that decide by themselves. Numbers are Zhipu's; `base_resp` has MiniMax's."""

BY_STATUS = {
    401: Reason.PROVIDER_AUTH_FAILED,
    402: Reason.PROVIDER_QUOTA_EXHAUSTED,
    403: Reason.PROVIDER_AUTH_FAILED,
    404: Reason.MODEL_NOT_FOUND,
    408: Reason.PROVIDER_UNAVAILABLE,
    409: Reason.PROVIDER_UNAVAILABLE,
    424: Reason.PROVIDER_UNAVAILABLE,  # AWS, Azure: the model itself failed
    425: Reason.PROVIDER_UNAVAILABLE,
    429: Reason.PROVIDER_RATE_LIMITED,
    498: Reason.PROVIDER_UNAVAILABLE,  # Groq: no capacity
}

_TYPES_WITHOUT_STATUS = {
    Reason.PROVIDER_REJECTED_REQUEST: (
        "invalid_request_error BadRequestError ValidationException INVALID_ARGUMENT FAILED_PRECONDITION "
        "InvalidParameter"
    ),
    Reason.MODEL_NOT_FOUND: "not_found_error NotFoundError NOT_FOUND ResourceNotFoundException",
    Reason.PROVIDER_RATE_LIMITED: "requests tokens",
}
"""Those that come with several statuses, and count where an error inside a stream has none."""

_SENTENCES = (
    # vLLM, OpenAI, Mistral, Anthropic, llama.cpp, Gemini, xAI, Bedrock, DashScope, Together, text-generation-inference.
    (
        Reason.CONTEXT_WINDOW_EXCEEDED,
        r"maximum (context|prompt|input) length|context (length|window|limit|size)|longer than the context"
        r"|(prompt|input|request) (is|was|are) too (long|large)|too many (input )?tokens|input token count"
        r"|exceeds? the (available|maximum) (context|number of (input )?tokens|(input )?token)"
        r"|range of input length|reduce the length of the (messages|prompt)|inputs` tokens .*must be <="
        r"|maximum prompt|上下文|最大长度",
    ),
    # Anthropic, DeepSeek, OpenRouter, OpenAI, Zhipu, DashScope.
    (
        Reason.PROVIDER_QUOTA_EXHAUSTED,
        r"credit balance|insufficient[ _](balance|credits?|funds|quota)|exceeded your current quota|in arrears"
        r"|(no|not enough|out of|more|any) (balance|credits?)\b|(spend|spending|usage|billing) limit"
        r"|balance (is )?(too low|exhausted)|quota (is )?(used up|exhausted|exceeded)|payment required|余额|欠费",
    ),
)
_SENTENCE_STATUSES = {
    Reason.CONTEXT_WINDOW_EXCEEDED: (None, 400, 413, 422, 500),
    Reason.PROVIDER_QUOTA_EXHAUSTED: (None, 400, 402, 403, 429),
}

_MODEL = re.compile(r"\b(model|deployment|engine)\b|models/\S+|模型", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(url|route|path|endpoint|(cannot|no handler for) (get|post))\b", re.IGNORECASE)


def _letters(word: str) -> str:
    return re.sub(r"[^a-z0-9.-]", "", word.lower())


_BY_CODE = {_letters(code): reason for reason, codes in _CODES.items() for code in codes.split()}
_BY_TYPE = {_letters(kind): reason for reason, kinds in _TYPES_WITHOUT_STATUS.items() for kind in kinds.split()}
_BY_SENTENCE = [(reason, re.compile(text, re.IGNORECASE)) for reason, text in _SENTENCES]


def by_code(word: str) -> Reason | None:
    """The reason that a code or type stands for by itself."""
    return _BY_CODE.get(_letters(word))


def by_type(word: str) -> Reason | None:
    """The reason that a type stands for where there is no status."""
    return _BY_TYPE.get(_letters(word))


def by_sentence(message: str, status: int | None) -> Reason | None:
    """The reason that only the words tell, for the statuses with which they are seen."""
    for reason, text in _BY_SENTENCE:
        if status in _SENTENCE_STATUSES[reason] and text.search(message):
            return reason
    return None


def speaks_of_a_model(message: str) -> bool:
    """Whether a "not found" is about a model, and not about the address."""
    return _MODEL.search(message) is not None and _ADDRESS.search(message) is None
