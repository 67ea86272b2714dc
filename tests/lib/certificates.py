"""Creates certificates with openssl: an authority, and certificates that it signs."""

import os
import subprocess
import time
from pathlib import Path

DAY = 86400
KEYS = {"ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        "rsa": ("-newkey", "rsa:2048")}
CONFIGURATION = """
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True,
                   stdin=subprocess.DEVNULL, timeout=60)


def stamp(seconds_from_now):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds_from_now))


class Pair:
    """A certificate and its key."""

    def __init__(self, folder, name):
        self.certificate = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"

    def replace(self, other):
        """Replaces this pair's files by another pair's."""
        for own, its in ((self.certificate, other.certificate), (self.key, other.key)):
            temporary = own.with_suffix(".new")
            temporary.write_bytes(its.read_bytes())
            os.replace(temporary, own)


class Authority(Pair):
    def __init__(self, folder, name="authority"):
        folder = Path(folder)
        super().__init__(folder, name)
        self.folder = folder / f"{name}-issued"
        self.folder.mkdir()
        (self.folder / "index").touch()
        self.configuration = self.folder / "configuration"
        self.configuration.write_text(CONFIGURATION.format(folder=self.folder))
        openssl("req", "-x509", *KEYS["ec"], "-nodes", "-keyout", self.key, "-out",
                self.certificate, "-days", "10", "-subj", f"/CN={name}",
                "-addext", "keyUsage=keyCertSign,cRLSign")

    def issue(self, name, kind="ec", begins=-DAY, ends=DAY, usage="serverAuth"):
        """Issues a certificate for localhost; `begins` and `ends` are seconds from now."""
        pair = Pair(self.folder, name)
        request = self.folder / f"{name}.csr"
        openssl("req", *KEYS[kind], "-nodes", "-keyout", pair.key, "-out", request,
                "-subj", f"/CN={name}", "-addext", f"extendedKeyUsage={usage}",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        openssl("ca", "-batch", "-notext", "-config", self.configuration, "-in", request, "-out",
                pair.certificate, "-cert", self.certificate, "-keyfile", self.key,
                "-startdate", stamp(begins), "-enddate", stamp(ends))
        return pair
