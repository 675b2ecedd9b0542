"""A key pair for the scenario with tokens, made anew in the work folder: a JWKS for the gateways, tokens for the load."""
import base64
import json
import pathlib
import subprocess
import time

WORK = pathlib.Path(__file__).resolve().parent / ".work"
KEY, JWKS = WORK / "bench.key", WORK / "bench.jwks"
ISSUER, AUDIENCE, KEY_ID = "https://id.bench.test", "orders", "bench-1"
VALID_S = 24 * 3600


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make():
    """Writes key and JWKS, once per work folder."""
    WORK.mkdir(exist_ok=True)
    if KEY.exists() and JWKS.exists():
        return
    openssl("genrsa", "-out", str(KEY), "2048")
    modulus = openssl("rsa", "-in", str(KEY), "-modulus", "-noout").decode().strip().removeprefix("Modulus=")
    key = {"kty": "RSA", "kid": KEY_ID, "use": "sig", "alg": "RS256", "n": base64url(bytes.fromhex(modulus)), "e": "AQAB"}
    JWKS.write_text(json.dumps({"keys": [key]}))


def token(subject):
    """A signed token of `subject`, valid for a day."""
    make()
    now = int(time.time())
    head = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "email": f"{subject}@bench.test", "iat": now, "exp": now + VALID_S}
    text = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    return f"{text}.{base64url(openssl('dgst', '-sha256', '-sign', str(KEY), data=text.encode()))}"
