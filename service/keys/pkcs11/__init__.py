"""Keys wrapped by a token (PKCS#11): an HSM, a smart card, or a program that behaves like one."""
