"""What a stolen database shows is conceded in docs/threat-model.md."""

from storage.tables import LOG, LOG_ABOUT, TABLES
from tests.docs.pages import coded, read, section

STOLEN = section(
    read("threat-model.md"), "## 1. The archive directory is stolen, without the keys"
)


def test_every_table_is_spoken_of():
    tables = {table.name for table in (*TABLES.values(), LOG, LOG_ABOUT)}
    assert tables - coded(STOLEN) == set()
