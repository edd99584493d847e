"""Words that often stand for one another, so that a question finds a document that says it differently."""

from runtime.offline.text import stem

_GROUPS = """
delete remove erase discard drop purge
folder directory
begin start launch
stop end terminate quit halt abort
turn switch enable activate
off disable deactivate
change modify alter edit adjust tweak
show display print list output
error failure fault problem bug
maximum max limit most largest upper longest exceed cap
minimum min least smallest lower fewest
default standard preset
option flag switch parameter setting argument
create make add new build generate produce
permit allow let may grant
forbid prohibit disallow deny refuse
need require must necessary mandatory
fix repair correct patch
rename move
save store keep write record preserve
get obtain fetch retrieve download
install setup
developer maintainer author programmer contributor
money cash currency
cost price fee charge
machine computer host server system
user person people someone somebody
version release
replace supersede substitute override
own belong
choose select pick
buy purchase acquire
send transmit submit
mail email
publish release announce
length long size width
percentage percent share
fast speed quick performance
twice double two
once one single
first initial earliest
last final latest
color colour
cheque check
licence license
centre center
grey gray
catalogue catalog
staff employee worker
admin administrator root superuser
password credential secret passphrase
web http website url
picture image figure
test verify validate
signature sign signed
guess estimate predict
combine merge join
split divide separate
hide conceal suppress ignore skip
warn warning notice
document documentation manual guide
example sample
number count amount quantity
total sum
empty blank
copy duplicate clone
compare diff difference
undo revert restore rollback recover
backup archive
run execute invoke
program command tool utility executable binary script
process daemon service
network internet
group team
company corporation firm
car vehicle
job work task
loan mortgage debt
income revenue earnings
expense spending cost
profit gain
wait timeout delay
interval period
encrypt encrypted encryption
abbreviation acronym stand
meaning definition define
reason because why
place location located
happen occur result
refund reimburse repay
customer client buyer
holiday vacation leave
illness sick sickness
salary wage pay
boss manager supervisor
rent lease
phone telephone
address contact
deadline due
rule policy regulation
yearly annual annually
monthly month
weekly week
daily day
"""


def _table() -> dict[str, frozenset[str]]:
    out: dict[str, set[str]] = {}
    for line in _GROUPS.strip().splitlines():
        group = {stem(word) for word in line.split()}
        for each in group:
            out.setdefault(each, set()).update(group - {each})
    return {each: frozenset(others) for each, others in out.items()}


ALIKE = _table()
