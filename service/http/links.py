"""Links that we hand out."""


def invite_link(base_url: str, secret: str) -> str:
    """Return the one-time link with which a person sets their password."""
    return f"{base_url.rstrip('/')}/first-password/{secret}"
