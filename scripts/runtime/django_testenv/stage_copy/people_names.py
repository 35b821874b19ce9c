"""Names that many people have, for telling names of people in a sample from other capitalised words.

Most are what the statistical offices of some hundred countries report as the most frequent, as
collected in popular-names-by-country-dataset (CC0, from Wikipedia's lists of given names and
surnames). Those lists have the newborn alone, so common names of older people were added by hand, in
the languages of the US, Germany, France, Spain, Italy, the Netherlands, Poland, Sweden, Turkey and
Brazil. All are in lower case and without accents. Names that are words, months, colours or places in
English are left out.
"""

from __future__ import annotations

from .personal_words import word_set

GIVEN = word_set("""
    aada aadhya aarav aaron aarya aasha abd abdallah abdelkader abdul abdullah abigail abulfazl adam adela
    adele aditi adriana afonso agnes agnieszka agus agustin agustina ahmad ahmed ahmet aicha aikaterini
    aimar aino aisha aisultan aitana aiur akira aksel alain alan albert alberto aldiyar aldo alejandro
    aleksandar aleksander aleksandr aleksandra aleksey alessandra alessandro alessia alex alexander
    alexandra alexandru alexis alfie ali alice alicja alikhan alina aline alinur alisa alma althea alvaro
    ama amahle amaia amal amalie amanda amar amayra ambar ambre amelia amelija amina amine amir amira amit
    ammar amy ana anahit anastasia anastasiya anders andre andrea andreas andreea andrei andres andrew
    andrey andriy andrzej ane angela angelika angeliki angelo anita anjali ann anna anne anneke annie
    annika anthony antonella antoni antonia antonietta antonio aoi aoife ari aria ariana ariel arjun aron
    artem arthur artiom artyom asaf asemahle ashley ashraqat asilim asmita assia asta athanasios attila
    aurelie ava avigail aya ayala ayalah ayesha ayim aylin ayoub aysa ayse ayzere banele baran barbara
    bautista beatrice beatriz bence benedita bengt benicio benjamin bernard bernd berrdo beshoi betty
    beverly bibek biel bilal billy binita birgit birgitta bishal bismah bjorn bobby bogdan boglarka boris
    bradley brahim bram brandon brenda brian brigitte brittany bruce bruna bruno bryan budi busra caleb
    camila camille carl carla carlo carlos carmela carmen carol carolyn catalina caterina catharina
    catherine cecilia celeste celine charbel charles charlie charlotte cheryl chiara chidi chloe
    christiane christina christine christopher christos cillian ciro clara claude claudia concetta
    cornelia cornelis cristina cynthia daan dalal damian danel daniel daniela danielle daniil danijel
    danna danuta danylo daria dariusz davi david davide davit deborah debra dejan delfina denise dennis
    dewi dhruv diana diane diego dieter dimitar dimitra dimitrios dirk djamel dmitry dmytro dolores
    domenico dominik donald donna dora doris dorothy douglas dragan dragana duarte dylan eabha edoardo
    edouard eduardo edward eeli eevi eino eitan ekaterina elena eleni elias elie elif elijah elisabeth
    eliska elizabeth elizaveta elke ella ellen ellie elzbieta ema emil emilia emiliano emily emine emma
    emmanuel emre eric erik ethan eva evelina evelyn evie ewa ezekiel fadi fahd farah farida farrah
    farzana fatemeh fatima fatin fatma felipe felix femke ferenc fernanda fernando fiadh filip finn fozia
    fran franca frances francesca francesco francisca francisco franciszek franco francoise frank frederic
    fredrik freja freya frida gabriel gabriela gabriele gael galina gary gaspar george georges georgi
    georgios gerald gerhard geronimo gerrit gheorghe gianna ginevra giorgio giovanna giovanni gisela gita
    giulia giuseppe giuseppina gloria gogo goran grace gregory grzegorz guadalupe guillaume gunter gustav
    habib habiba halil hamza hana hanife hanna hannah hans haoran haoyu harold harris harry haruna haruto
    hasan hashem hassan hatice havva heather heike heinz heitor helen helena helene helga helma helmi
    helmut hendrik hendrika henri henry himari hina hinata hinato hiroshi horst hossein hudson hugo
    huseyin hussain hussein hydar ian ibai iben ibrahim ida ilona imene iminathi inaya ines ingrid ioana
    ioannis ion irati irene irina isaac isabel isabella isabelle isak isidora isla ismail istvan ivan
    ivana izaro jacob jacobus jacqueline jacques jad jakob jakov jakub james jan jana janet janice jason
    javier jean jeanne jeffrey jelena jennifer jeremy jeroen jeronimo jerry jerzy jesse jessica jesus jing
    jiri jiya joan joanna joao joe johan johanna johannes john jon jonas jonathan joost jorge jori jose
    josef josefa joseph joshua jouri jovan joyce jozsef juan jude judith judy julen jules julia juliana
    julie julien julieta juliette junior jurgen justin kabir kabita kaloyan kamal karam karen karim karima
    karin karl karolina katalin katarzyna katerina kathem katherine kathleen kathryn kayla kazi keiko
    keith kelly kenji kenneth kerstin kevin khadija khaled kiaan kiara kimberly kiran kirollos klaus kofi
    konstantina konstantinos krishna kristina krystyna krzysztof kwame kyle laia lakshmi larry lars laszlo
    laura lauren laurent lavi lawrence layla lea leah leen leevi lena leni lenka leo leon leonardo leonor
    leordo lesedi lethabo lethokuhle leticia lev levente levi leyla lia liam lian lianne lili lilien lilja
    lilly lin lina linda linnea lio lisa lisakhanya livia liz ljiljana logan lorenzo lori louis louise
    lourenco luana lubanzi luca lucas lucia luciana luciano lucija ludovica luigi luis luiz luka lukas
    lukasz lur lwandle lydia lyn lyna lyudmila maarten maddi madeleine madina mael magdalena maha mahesh
    mahmoud maite maja maksym malak malek malen malgorzata malthe manfred manish manuel manuela marc
    marcel marcell marcelo marcia marcin marcos marek margaret margareta margaretha margarida margherita
    marguerite maria mariam mariana marianne marie marija marijke marilyn marina mario mariusz mariya
    markel marko marta martha marti martim martin martina martine marwa mary marya maryam mate matei matej
    mateo mateusz mathieu matias matija matilda matilde mats matteo matthew mattia matvey matyas maxim
    maximilian maximiliano maya mees megan mehar mehmet melissa melokuhle meriem mersana merve meryem mia
    michael michail michal michel michele michelle miguel mihai mikael mikhail mikolaj mila milan milana
    milena milica millie milos mina minato mingze mira mohamed mohammad mohammed monika monique muchen
    muhammad muhammed murad murat mustafa muyang mykhaylo nagi nagisa nahia naim nancy natalia natalie
    natalija nathalie nathan nathaniel naya nela ngozi nicholas nicolas nicole niel niharika nika niko
    nikodem nikol nikola nikolaos nikolay nil nils nina nino noa noah noam nomaan noor nora nour nur
    nurislam ofentse oihan oisin oleksandr oleksandra olga oliver olivia olivier oliwia oluwaseun omar
    omer omphile ona onni oscar oskar osman ozlem pablo pamela panagiotis paola paolo pari patricia
    patrick pau paul paula paulo pavel pawel pedro per petar peter petr petra petrus philippe pierre
    pieter pietro pilar piotr pol pola polina prakash prasert prem priya rabina rachel rachid rafael rahul
    rajesh ramazan ramesh randy raphael raquel ravi raya rayana raymond rebecca reem refael regina relja
    ren renata renate rene rethabile rian riccardo richard rin rita robert roberto rocio rodrigo roger
    roko ronald rory rosa rosie roy ruoxi russell ruth ryan saar sabine sahar said sakeena salma salome
    salvatore sama samantha samuel samyar sander sandor sandra sandrine sanjay sanne santiago saqib sara
    sarah sean sebastian sebastien sem sergey sergio serife shahd shahem shahid shaimaa shams sharon
    sheikh shirley shivansh shristi siddhartha silvia simona siphosethu sita siti snezana sobia sofia
    sofie sofija sofiya solomiya soma somboon somchai somporn somsak sophia sophie stanislaw stefan
    stefanie stefano stephanie stephen steven suleyman sunita suresh susan susanne suzanne sven svetlana
    syed sylvie szymon tadhg taha taim takashi tamar tareq tatiana teo teodor teresa tereza terry tess
    thabo theo theodor theodore theresa thiago thierry thomas tiago tiffany timofey timothy tobias toivo
    tomas tomasz tommaso tomyris trinidad tuleen tyler umar uri ursula usman uta uwe vaclav vaino valdemar
    valentina valeria valerie vamika vanessa varvara vasileios vasiliki vasilisa vedant venla veronika
    veronique vesna vicente victor victoria vijay viktor viktoria viktorie viktoriya vincent vincenzo
    viraj vittoria vladimir vladyslav vojtech walter wan wassim wateen wayne wei werner wilhelmina willem
    william willie wojciech wolfgang ximena xinyi yara yasmin yasmine yasna yassin yehuda yeva yichen
    yihan yimo yinuo yize yoana yoko younes youssef yuina yuki yuna yuri yusef yusuf yutong yuxi yuxuan
    yuze zachary zahid zahra zainab zalan zbigniew zdenek zehra zeinab zeynep zihan zina zion zoe zofia
    zoltan zoran zsuzsanna zuzanna
    """)
# As they are written.
GIVEN_IN_OTHER_SCRIPTS = word_set("""
    Αγγελική Αθανάσιος Αικατερίνη Βασίλειος Βασιλική Γεωργία Γεώργιος Δήμητρα Δημήτριος Ελένη Ιωάννης
    Κωνσταντίνα Κωνσταντίνος Μαρία Μιχαήλ Νικόλαος Παναγιώτης Παρασκευή Σοφία Χρήστος Јана Јелена Јован
    Јована Љиљана Айзере Айлин Айсұлтан Айша Айым Алдияр Александар Александр Александра Александър
    Алексей Алинұр Алиса Алихан Амина Амир Ана Анастасия Андрей Анна Артём Асылым Аяла Бисера Борис
    Варвара Виктор Виктория Габриела Георги Горан Гордана Давид Дамјан Даниел Даниил Дария Дарија Дејан
    Димитър Дмитрий Драган Драгана Душан Ева Евгений Екатерина Елена Елизавета Зоран Иван Ивана Ирина
    Йоана Калоян Лев Лука Максим Мария Марија Марк Марко Мартин Матвей Матеј Медина Мила Милан Милица
    Милош Мирјана Михаил Мұхаммед Наталья Никол Никола Нұрислам Ольга Омар Петар Полина Рая Раяна
    Сергей Симона Снежана София Софија Стефан Татьяна Теодор Томирис Хана Юлия Әли
    """)
SURNAMES = word_set("""
    abbasov abdrahmanov abdullayev acosta adams aguilar aguirre ahmadov ahmetov ahonen aigner aivaliotis
    akter aliev alievi aliyev allen almeida alonso alvarado alvarez alves andersen anderson andersson
    andov andreassen angelov antunes araujo araya arslan aslan attard auer avraham aydin azevedo babic
    bajram bakker balaz balazs balodis balog balogh bandara barbieri barbosa barry bauer baumann
    baumgartner becker begu bektashi benali benitez berger bergmann beridze berisha bertrand berzins
    bianchi binder biton blanco blondal boer bogdanov bolkvadze bondarenko bonnet borg boyko bozic bozinov
    brankov briem brouwer brunner butkiene butkus byrne bytyqi cabrera caceres calderon camilleri campos
    cardenas cardoso caruso carvalho castillo castro cavalcante cavalcanti ceban cebotari celik cengic
    cerna cerny cetin chan chand chang chaudhary chavez chen cheong cheung chhetri chin choe choi
    chowdhury choy christensen christiansen chun ciobanu claes clark clarke coelho cohen colombo conte
    conti contreras correa correia cruz cunha dabrowski dahan dahl damcevski davidov davies davis dekker
    dela delgado delic demir demirovic denis dervishi devi diallo dias diaz dijk dijkstra dimitrov
    dimitrova dissanayake djurhuus dogan dominguez donev dubois dumitru dumont duong dupont durand dvorak
    dvorakova ebner eder egger eglitis eriksen eriksson escobar espinoza esposito estrada farkas farrugia
    fatime feher fekete ferhatovic fernandes fernandez ferrara ferrari ferreira figueroa filipov fischer
    flores fontana fournier francois frei friedman fuchs fuentes gagnon gajdos galea galli gallo gamage
    garcia gashi gelashvili gentile georgiev georgieva gerber gevorgyan ghazaryan ghim gimenez giordano
    giorgadze girard gjoni godoy golob golubev gomes gomez goncalves gonzales gonzalez goossens graaf
    grabowski grech greco grigoryan groot gruber guerrero guliyev gurung gustafsson gutierrez gutu guzman
    haas hadzic hagen hakobyan halvorsen hamalainen hansen harutyunyan hasani hasanov hasanovic haugen
    heikkila heikkinen heinonen hendriks henriksen herath hernandez herrera hoang hodzic hofer hoffmann
    horak horakova horvat horvath hossain hoti hovhannisyan hoxha hristov hristova huang huber hudak
    huseynov huynh hysi ibragimov ibrahimovic iglesias ilic ionescu iskakov islam ismayilov ivanou ivanov
    ivanova ivanovic jacobs jacobsen jafarov jankauskas jankauskiene jankowski jansen jansons janssen
    janssens jarvinen jayasinghe jensen jeon jeong jimenez joensen johannesen johannessen johansen
    johansson johnsen johnson jokinen jones jong jonsson jorgensen jovanovic juarez juhasz juric kaczmarek
    kaliev kalloe kalnins kaminski kapanadze kara karapetyan karjalainen karlsen karlsson kask kastrati
    kato kaur kavaliou kaya kazlauskas kazlauskiene kazlou kazlouski keller khachatryan khan khat khatun
    khay khiev khlot kieffer kilic kinnunen kiss klein kluivert knezevic kobayashi kollar koller kontos
    korhonen koskinen koufos kovac kovacevic kovacic kovacik kovacs koval kovalchuk kovalenko kowalczyk
    kowalski kozlov kozlowski krajnc krasniqi kravchenko krawczyk kristensen kristiansen kritikos krumins
    kryeziu kucera kucerova kukk kumar kumara kurt kuznetsov kwiatkowski lahtinen laine laitinen lakatos
    lama lambert larsen larsson lebedev lechner leclercq leeuwen lefebvre lefevre lehner lehtinen lehtonen
    leitner lejeune leka leone leroy levy lewandowski lewis liepins lima liyanage lombardi lomidze longo
    lopes lopez lukac lund lungu macdonald madsen maes magar magi maier maisuradze makela makinen malcah
    maldonado malka mamedov mamedovi mammadov mancini marchetti mariani maric marino markovic marques
    martinelli martinez martini martins matic matos mattila mayer mayr mazur medina meer mehmedovic
    mehmeti meier meijer mejia melnyk melo mendes mendez mendoza mercier mertens messina meszaros meyer
    micallef miller milosevic miranda mitchell mizrachi mizrahi mkrtchyan mlakar mohan molina moller
    molnar monteiro montes moore mora morais morales moreau moreira morel moreno moretti morina morozov
    mortensen moser mulder muller munoz munteanu murati muratovic murphy mytaras nagy naidu nakamura
    narayan navarro nelson nemcova nemec nemeth neves nguyen nielsen niemi nieminen nikolic nikolov
    nikolova nilsen nilsson novak novakova novik novikov novotna novotny nowak nunes nunez olah oliveira
    olsen olsson omarov oravec orellana ortega ortiz ospanov ozdemir ozkan ozolins ozols ozturk papoutsis
    papp patel pavlov pavlovic pedersen peeters pena pereira perera peretz pereyra perez perovic persson
    peters petersen petersons petrauskas petrauskiene petrosyan petrov petrova petrovic pettersen
    pettersson pham phan phillips pichler pinas pinto piotrowski pires polak polishchuk ponce popa popescu
    popov popovic potocnik poulsen prasad prifti prochazka prochazkova quispe racz radic radovic radu
    radulovic rahman ramirez ramos rana ranasinghe rantanen rasmussen rebane reis reiter reuter reyes rhee
    ribeiro ricci rinaldi rios rivas rivera rizzo roberts robinson rocha rodrigues rodriguez rojas romano
    romero rossi rotari rubio ruiz russo rusu saarinen sadykov sahin saito salazar salinas salminen salo
    salonen samaras sanchez sandoval sang santana santis santoro santos sanz sargsyan sato savolainen
    schmid schmidt schmit schmitz schneider schroeder schulz schuster schwarz semil semyonov sepp
    sepulveda serra serrano shala sharma shehu shevchenko shevchuk shin shrestha silva simoes simon simsek
    singh sirbu smet smirnov smit smith smits soares sokolov solovyov song sorensen sosa soto sousa
    spiteri stan stankeviciene stankevicius stankovic steiner stoica stojanovic suarez suleimenov sullivan
    suzuki svensson svoboda svobodova szabo szilagyi szymanski tahirovic takacs takahashi tamang tamm
    tanaka tapia taylor teixeira thapa thill thompson thomsen thorarensen thorlacius ting tjin tkachenko
    tomic torok torres toth tran tremblay tsiklauri tsoi tuominen turcan turk turner turunen ursu valdez
    valenzuela vang vardanyan varela varga vargas vasiliauskas vasiliauskiene vasilyev vasquez vassiljev
    vazquez vega velasquez vella vera vesela vesely vidal vidmar vieira villalba villanueva vinogradov
    virtanen visser vitale vitols volkov vong vorobyov vries vujovic vukovic waage wagner walker wallner
    walsh wang watanabe weber willems williams wilson wimmer winkler wisniewski wojciechowski wojcik wong
    wouters wozniak wright yadav yakovenko yamada yamamoto yang yeung yildirim yildiz yilmaz yoshida
    zammit zarins zaytsev zhang zielinski zupancic
    """)
