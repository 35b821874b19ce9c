"""Names that many people have, for telling names of people in a sample from other capitalised words.

In lower case and without accents. The given names are those that the statistical offices of some hundred countries
report as the most frequent (those of other scripts as they are written), and the surnames too: popular-names-by-country-dataset (CC0), made from Wikipedia's lists
of both; with the most frequent names of whole populations, not of the newborn alone (US Social Security Administration,
1924 to 2023, and the offices of Germany, France, Spain, Italy, the Netherlands, Poland, Sweden, Turkey and Brazil).
Names that are words, months, colours or places in English as well are left out.
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
GIVEN_IN_OTHER_SCRIPTS = word_set("""
    Αγγελική Αθανάσιος Αικατερίνη Βασίλειος Βασιλική Γεωργία Γεώργιος Δήμητρα Δημήτριος Ελένη Ιωάννης
    Κωνσταντίνα Κωνσταντίνος Μαρία Μιχαήλ Νικόλαος Παναγιώτης Παρασκευή Σοφία Χρήστος Јана Јелена Јован
    Јована Љиљана Айзере Айлин Айсұлтан Айша Айым Алдияр Александар Александр Александра Александър
    Алексей Алинұр Алиса Алихан Амина Амир Ана Анастасия Андрей Анна Артём Асылым Аяла Бисера Борис
    Варвара Виктор Виктория Габриела Георги Горан Гордана Давид Дамјан Даниел Даниил Дария Дарија Дејан
    Димитър Дмитрий Драган Драгана Душан Ева Евгений Екатерина Елена Елизавета Зоран Иван Ивана Ирина
    Йоана Калоян Лев Лука Максим Мария Марија Марк Марко Мартин Матвей Матеј Медина Мила Милан Милица
    Милош Мирјана Михаил Мұхаммед Наталья Никол Никола Нұрислам Ольга Омар Петар Полина Рая Раяна Сара
    Сергей Симона Снежана София Софија Стефан Татьяна Теодор Томирис Хана Юлия Әли
    """)
SURNAMES = word_set("""
    abdullayev acosta aguilar ahmadov ahmetov aivaliotis akter aliev alievi aliyev almeida alonso alvarado
    alvarez alves andersen anderson andersson andov angelov araujo arslan aslan aydin babic bakker balaz
    balodis bandara barbieri barbosa bauer becker begu bektashi benitez beridze berisha bertrand berzins
    bianchi biton blondal boer bogdanov bondarenko borg boyko bozic bozinov brankov bytyqi caceres
    camilleri campos cardoso carvalho castillo castro ceban cebotari celik cengic cetin chan chand
    chaudhary chen cheung chin chowdhury christensen chun ciobanu claes clarke cohen colombo conti
    contreras cruz dabrowski dahan damcevski davidov davis dela delgado delic demir demirovic dervishi
    devi diaz dijk dimitrov dimitrova dissanayake dogan dominguez dubois dumitru duong durand dvorak
    dvorakova eriksson espinoza esposito farrugia ferhatovic fernandes fernandez ferrari ferreira fischer
    flores fournier fuentes gagnon galea gallo gamage garcia gashi gelashvili georgiev georgieva ghim
    gimenez giordano gjoni golubev gomes gomez goncalves gonzales gonzalez goossens grabowski grech greco
    grigoryan groot gruber guliyev gurung gutierrez guzman hadzic hakobyan hamalainen hansen harutyunyan
    hasani hasanov heikkinen hendriks hernandez herrera hoang hodzic hoffmann horvat horvath hossain
    hovhannisyan hoxha huang huber huseynov huynh ilic iskakov islam ismayilov ivanou ivanov ivanova
    ivanovic jacobs jacobsen jankauskas jankauskiene jankowski jansen jansons janssen janssens jensen
    jimenez joensen johannesen johansen johansson johnson jones jong jovanovic juric kaczmarek kalloe
    kalnins kaminski kapanadze kara karlsson kastrati kaur kavaliou kaya kazlauskas kazlauskiene kazlou
    kazlouski keller khachatryan khan khat khatun khay khiev khlot kilic kiss knezevic kobayashi kontos
    korhonen koufos kovac kovacevic kovacic kovacs kovalchuk kovalenko kowalczyk kowalski kozlov kozlowski
    krajnc krasniqi kravchenko krawczyk kristiansen kritikos krumins kumar kumara kurt kuznetsov
    kwiatkowski laine larsen larsson lebedev leeuwen lefebvre leka leroy levy lewandowski lewis liepins
    lima lombardi lopes lopez lungu maes magar magi maisuradze makela makinen maldonado mamedov mamedovi
    mammadov mancini maric marino markovic marques martinez martins mazur medina meier meijer mejia melnyk
    melo mendez mendoza mertens meyer micallef miller miranda mitchell mizrachi mizrahi mlakar mohan
    molina moller molnar montes moore mora morales moreau moreno morina morozov moser mulder muller munoz
    munteanu murphy mytaras nagy nakamura narayan navarro nguyen nielsen nieminen nikolic nilsen nilsson
    novak novakova novikov novotna novotny nowak nunez oliveira olsen olsson omarov ortega ortiz ospanov
    ozdemir ozkan ozolins ozols ozturk papoutsis patel pavlov pedersen peeters pena pereira perera peretz
    perez perovic persson peters petersen petrauskas petrauskiene petrosyan petrov petrova petrovic pham
    phan phillips pichler pinas pinto piotrowski ponce popa popescu popov popovic potocnik poulsen prasad
    prifti quispe radovic radu radulovic rahman ramirez ramos rana reyes rhee ribeiro ricci rivera rizzo
    roberts rodrigues rodriguez rojas romano romero rossi ruiz russo rusu sahin salazar samaras sanchez
    santos sargsyan sato schmid schmidt schmit schmitz schneider schroeder schulz semyonov sepp shala
    sharma shehu shevchenko silva simon simsek singh sirbu smirnov smit smith sokolov solovyov sorensen
    soto sousa stan stankeviciene stankevicius stankovic steiner stoica stojanovic suarez suleimenov
    sullivan suzuki svoboda svobodova szabo szymanski tahirovic takahashi tamang tamm tanaka taylor thapa
    thill thompson thomsen thorarensen ting tkachenko torres toth tran tremblay turcan vardanyan varga
    vargas vasilyev vasquez vassiljev vega vella vera vinogradov virtanen visser volkov vorobyov vries
    vujovic vukovic wagner walsh wang watanabe weber willems williams wilson wisniewski wojciechowski
    wojcik wong wozniak yadav yang yildirim yildiz yilmaz zammit zaytsev zhang zielinski zupancic
    """)
