"""Everyday English words. In technical text they are rare and yet say little: a document puts the same in others."""

from runtime.offline.text import stem

_WORDS = """
able accept accord accordingly achieve across act actual actually advance advice affect afford afraid ago agree ahead
aim alike alive alone along already alright although altogether always amount annoy another answer anybody anymore
anyone anything anyway anywhere apart apparently appear approach appropriate apt arise around arrive aside ask attempt
attention available average avoid aware away awful back bad badly barely based basic basically beat beautiful become
begin beginning behave behaviour behavior believe belong benefit beside besides best better beyond big bit blame boring
both bother bottom break brief briefly bring broken build busy buy call came care careful carefully carry case catch
cause central certain certainly chance change cheap check choice choose chose circumstance claim clean clear clearly
clever close closely closer collect come comes comfortable common commonly compare complain complete completely concern
confuse consider consist constant contain continue contrary control correct correctly count country couple course cover
crazy create cross current currently custom cut daily danger dangerous day days deal dear decide deep definitely degree
deliver demand depend describe deserve design desire despite detail different difference differently difficult
difficulty direct direction directly disappear discover discuss distant disturb divide doubt drive drop dry due dumb
earlier early easily easy effect effective effort eight either eleven else elsewhere empty encounter encourage end
enjoy enough ensure enter entire entirely equal equally especially essential essentially eventually everybody everyday
everyone everything everywhere exact exactly example excellent except exceed exchange exist expect expensive experience
explain explicit express extent extra extremely eye face fact fail fair fairly fall familiar fan far fashion fast
faster favorite favourite fear feel fewer fight figure fill final finally find fine finish fit five fix follow foot
force forbid foreign forever forget form former forth forward found four free freely frequent frequently fresh friend
front full fully fun function funny further future gain general generally gentle genuine glad gone good grab gradually
grand great greatly ground group grow guess guide hair half hand handle hands handy hang happen happens happy hard
hardly harm hate hear heart heavy held help helpful hence hide high highly hint hit hold home honest hope hot hour
hours huge human hundred hurry hurt idea ideal imagine immediate immediately important impossible improve include
indeed indicate individual inner inside instance instantly instead intend intention interest interesting involve
issue itself job join judge jump kept kind knew know knowledge known lack large largely last lately later latest latter
laugh lay lead leads learn least leave leaves left lend less lesson letter level lie life light likely limit little
live local long longer look lose loss lost lot lots love low lower luck lucky machine main mainly maintain major
majority manage mandatory manner mark match matter maybe mean meaning means meant meanwhile measure meet mention mere
merely mess middle mind minor miss missing mistake mix moment month months more moreover morning mostly move multiple
myself name named namely narrow natural naturally nature near nearby nearly neat necessarily necessary negative
neither never nevertheless new newer newest next nice night nine nobody none nonetheless normal normally nothing notice
nowadays nowhere number numerous obey object obscure observe obtain obvious obviously occasion occasionally occur odd
offer often old older omit oneself ones open operate opinion opposite order ordinary origin original originally others
otherwise ought ourselves outer outside overall owe own pair part particular particularly partly party pass past pause
pay people perfect perfectly perform perhaps permanent permanently permit person personal pick picture piece place
plain plan play pleasant plenty point poor poorly popular position positive possess possibility possible possibly
possibly post power practical practically practice precise precisely prefer prepare presence present press pretty
prevent previous previously probably problem produce proper properly protect prove provide public pull purpose push
put quick quickly quiet quit quite raise range rarely rather reach react ready real realize really reason reasonable
receive recent recently recognize recommend reduce refer regard regarding regular regularly relate relation relative
relatively remain remember remind repeat replace reply report represent require respect responsible rest result right
rise role roll room rough roughly round rule rush sad safe safely sake same satisfy saw scale scarce second see seek
seem seen seldom self sell send sense sent separate separately serious seriously serve set settle seven several severe
shape share sharp short shortly show shown shut sick side sight sign silly similar similarly simple simply since single
sit situation six size skip slight slightly slow slowly small smaller smallest smart smooth soft sold sole solely solve
somebody somehow someone something sometime sometimes somewhat somewhere soon sorry sort sound source space spare speak
special specific specifically spend spent spite split spread stage stand standing start state stay step stick still
stop story straight strange strict strictly strong struggle stuff stupid subject succeed success successful sudden
suddenly suffer suggest suit suitable suppose sure surely surprise suspect sweet switch taken talk task taste teach
tell tend ten term terrible test thank thin think third thought thousand threat three threw throw thrown thus tidy till
time times tiny tired today together told tomorrow tonight took top total totally touch tough toward towards treat
trick trouble true truly trust truth try turn turned twelve twenty twice two type typical typically ultimately unable
understand understood unfortunately unless unlike unlikely unnecessary unusual upper urgent useful useless usual
usually valid value variety various vary vast versus via view vow wait wake walk want warm watch weak wear week weeks
weird welcome well went whatever whenever wherever whoever whole wholly wide widely wider willing win wish wonder
wonderful word words work worry worse worst worth write wrong yeah year years yesterday yet young
"""
ORDINARY = frozenset(stem(word) for word in _WORDS.split())
