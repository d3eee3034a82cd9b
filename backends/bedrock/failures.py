"""AWS's exceptions → our errors. Pure: by class name, AWS's error name and HTTP status, never by message
text, which may quote what was sent. No SDK is imported: botocore's classes are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, cast

from gateway.core.errors import Auth, BackendError, NotFound, RateLimited, Rejected, Unreachable

_SKEW = timedelta(minutes=5)  # AWS refuses a signature that is off by so much


@dataclass(frozen=True, slots=True)
class _Kind:
    error: type[BackendError]
    text: str
    fix: str | None = None
    retryable: bool = False


_AGAIN = "then `tunegate jobs resume`"
_EXPIRED = _Kind(
    Auth,
    "the AWS credential has expired",
    f"sign in again (`aws sso login`, or new temporary keys), {_AGAIN}",
)
_MISSING = _Kind(
    Auth,
    "no AWS credential was found",
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`",
)
_UNKNOWN_KEY = _Kind(
    Auth, "AWS does not know this credential", "check which one is in use: `aws sts get-caller-identity`"
)
_BROKEN_CHAIN = _Kind(
    Auth, "the AWS credential could not be loaded", "check AWS_PROFILE and ~/.aws, or run `aws sso login`"
)
_SIGNATURE = _Kind(
    Auth, "AWS did not accept the signature", "check the secret key, and that this machine's clock is right"
)
_CLOCK = _Kind(Auth, "this machine's clock is wrong", "set the clock (time synchronisation), then try again")
_FORBIDDEN = _Kind(
    Auth,
    "this credential may not do that",
    "allow the action named here in IAM (creating a job also needs iam:PassRole on options.bedrock.role_arn; "
    "buckets must belong to that role's account)",
)
_SLOW_DOWN = _Kind(RateLimited, "AWS asks to slow down", retryable=True)
_QUOTA = _Kind(
    RateLimited,
    "a quota of the AWS account is used up",
    f"wait until other jobs have ended or ask for more in Service Quotas, {_AGAIN}",
)
_GONE = _Kind(NotFound, "AWS knows no such thing there", "check the region and the name")
_NO_BUCKET = _Kind(NotFound, "there is no such bucket", "check options.bedrock.output_uri and data_uri")
_ELSEWHERE = _Kind(
    Rejected,
    "the bucket lies in another region than the job",
    "name one in the job's region; `{region}` in options.bedrock.output_uri stands for it",
)
_REFUSED = _Kind(
    Rejected,
    "AWS refused the request",
    "check options.bedrock (role, buckets, key); CloudTrail has AWS's own words under the request's id",
)
_CONFLICT = _Kind(
    Rejected, "something there is still changing or in use", "try again in some minutes", retryable=True
)
_THEIRS = _Kind(BackendError, "AWS failed", retryable=True)
_LOST = _Kind(
    Unreachable, "no whole answer came from AWS", "check the network and the region", retryable=True
)
_NO_REGION = _Kind(Rejected, "this region is not one AWS has Bedrock in", "check the candidate's region")

_ENDPOINT = _Kind(
    Rejected,
    "AWS's SDK does not accept this address with this kind of credential",
    "unset AWS_BEARER_TOKEN_BEDROCK (it needs https), or the AWS_ENDPOINT_URL_… variables",
)

_BY_NAME: Mapping[str, _Kind] = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), _EXPIRED),
    **dict.fromkeys(("MissingAuthenticationToken", "MissingAuthenticationTokenException"), _MISSING),
    **dict.fromkeys(
        ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken"),
        _UNKNOWN_KEY,
    ),
    **dict.fromkeys(("InvalidSignatureException", "SignatureDoesNotMatch"), _SIGNATURE),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), _CLOCK),
    **dict.fromkeys(
        ("AccessDeniedException", "AccessDenied", "OptInRequired", "AllAccessDisabled"), _FORBIDDEN
    ),
    **dict.fromkeys(
        (
            "ThrottlingException",
            "Throttling",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "SlowDown",
            "ModelNotReadyException",
        ),
        _SLOW_DOWN,
    ),
    "ServiceQuotaExceededException": _QUOTA,
    **dict.fromkeys(("ResourceNotFoundException", "NoSuchKey", "NoSuchUpload", "NoSuchEntity"), _GONE),
    "NoSuchBucket": _NO_BUCKET,
    **dict.fromkeys(
        ("PermanentRedirect", "IllegalLocationConstraintException", "AuthorizationHeaderMalformed"),
        _ELSEWHERE,
    ),
    **dict.fromkeys(("ConflictException", "ResourceInUseException"), _CONFLICT),
    **dict.fromkeys(("ModelTimeoutException", "ModelErrorException", "ModelStreamErrorException"), _THEIRS),
}

# Classes of botocore, s3transfer and urllib3; a class answers for those made of it.
_BY_CLASS: Mapping[str, _Kind] = {
    "NoCredentialsError": _MISSING,
    "NoAuthTokenError": _MISSING,
    **dict.fromkeys(("UnauthorizedSSOTokenError", "SSOTokenLoadError", "LoginRefreshRequired"), _EXPIRED),
    **dict.fromkeys(
        (
            "PartialCredentialsError",
            "CredentialRetrievalError",
            "TokenRetrievalError",
            "RefreshWithMFAUnsupportedError",
            "ProfileNotFound",
            "ConfigNotFound",
            "ConfigParseError",
            "SSOError",
            "LoginError",
        ),
        _BROKEN_CHAIN,
    ),
    **dict.fromkeys(
        (
            "HTTPClientError",
            "ConnectionError",
            "TimeoutError",
            "IncompleteReadError",
            "ResponseParserError",
            "ChecksumError",
            "HTTPError",
        ),
        _LOST,
    ),
    **dict.fromkeys(("BaseEndpointResolverError", "InvalidRegionError", "UnknownRegionError"), _NO_REGION),
    "InvalidEndpointConfigurationError": _ENDPOINT,
    **dict.fromkeys(("ParamValidationError", "ValidationError", "InvalidDNSNameError"), _REFUSED),
}


def classify(error: Exception, *, backend: str, now: datetime) -> BackendError:
    """The typed error for an exception of AWS's SDK. `now` is this machine's time, to tell a clock that
    is wrong from a credential that is."""
    if isinstance(error, BackendError):
        return error
    if isinstance(error.__context__, Exception) and type(error).__name__ == "S3UploadFailedError":
        return classify(error.__context__, backend=backend, now=now)  # boto3 keeps only the text of it
    reply = reply_of(error)
    if reply is None:
        kind = _of_class(error)
        if kind is None:
            return BackendError(f"failed with {type(error).__name__}", backend=backend)
        return kind.error(
            f"{kind.text} ({type(error).__name__})", backend=backend, retryable=kind.retryable, fix=kind.fix
        )
    return _of_reply(error, reply, backend=backend, now=now)


def name_of(error: BaseException) -> str:
    """AWS's name of an error, such as `ResourceNotFoundException`; for a reply without a body (HEAD) its
    status; empty for anything that is no answer of AWS."""
    reply = reply_of(error)
    return "" if reply is None else str(reply.get("Error", {}).get("Code", ""))


def is_absent(error: BaseException) -> bool:
    """Whether AWS said that what was asked for is not there."""
    kind = _BY_NAME.get(name_of(error))
    return name_of(error) == "404" or (kind is not None and kind.error is NotFound)


def reply_of(error: BaseException) -> Mapping[str, Any] | None:
    """What botocore's ClientError holds of the reply; None for other exceptions."""
    response = getattr(error, "response", None)
    return cast("Mapping[str, Any]", response) if isinstance(response, dict) else None


def _of_reply(error: Exception, reply: Mapping[str, Any], *, backend: str, now: datetime) -> BackendError:
    about: Mapping[str, Any] = reply.get("ResponseMetadata", {})
    status, headers = about.get("HTTPStatusCode"), cast("Mapping[str, str]", about.get("HTTPHeaders", {}))
    name = name_of(error)
    kind = _BY_NAME.get(name) or _by_status(status)
    skewed = kind is _SIGNATURE and _is_skewed(headers.get("date"), now)
    kind = _CLOCK if skewed else kind
    request = f", request {about['RequestId']}" if about.get("RequestId") else ""
    return kind.error(
        f"{kind.text} ({name or status}{request})",
        backend=backend,
        status=status if isinstance(status, int) else None,
        retryable=kind.retryable,
        retry_after_s=_retry_after_s(headers),
        place=f"{backend} {getattr(error, 'operation_name', '')}".strip(),
        fix=kind.fix,
    )


def _of_class(error: Exception) -> _Kind | None:
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)


def _by_status(status: object) -> _Kind:
    if not isinstance(status, int):
        return _THEIRS
    by_status = {401: _UNKNOWN_KEY, 403: _FORBIDDEN, 404: _GONE, 301: _ELSEWHERE, 307: _ELSEWHERE}
    by_status |= {408: _THEIRS, 429: _SLOW_DOWN}
    return by_status.get(status) or (_REFUSED if 400 <= status < 500 else _THEIRS)


def _is_skewed(date: str | None, now: datetime) -> bool:
    """Whether AWS's clock, which stands in every reply, and ours are further apart than AWS bears."""
    try:
        return date is not None and abs(parsedate_to_datetime(date) - now) > _SKEW
    except (ValueError, TypeError):
        return False


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds AWS asks us to wait: `x-amz-retry-after` is in milliseconds, `retry-after` in seconds."""
    for header, unit in (("x-amz-retry-after", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[header]) * unit)
        except (KeyError, ValueError):
            continue
    return None
