"""The words scripts/make-demo-data builds its reviews from, written for this project.

A product that ends in '+' is a plural. Nouns are shared between categories on purpose (bottle,
mint, chocolate, chicken, cream, bar): the whole phrase tells the category, no single word does.
"""

# category: (kind, products, clauses that fit the category without naming a product)
CATEGORIES = {
    "Baby": ("thing", [
        "baby bottle", "bottle warmer", "pacifier", "diapers+", "teething ring", "baby wipes+",
        "crib sheet", "infant formula", "pear puree", "diaper cream", "stroller cover",
        "sippy cup"], [
        "our newborn uses it at night", "our daughter is four months old",
        "the twins get it at every feeding", "we packed it for the nursery"]),
    "Baking": ("food", [
        "cake mix", "bread flour", "baking powder", "vanilla extract", "chocolate chips+",
        "pie crust mix", "brown sugar", "cookie dough mix", "dry yeast", "powdered sugar",
        "rainbow sprinkles+", "cocoa powder"], [
        "I weigh it before I bake", "it went into a cake at 180 degrees",
        "we used it for a birthday sponge", "grandma bakes with it too"]),
    "Beauty": ("care", [
        "lipstick", "eyeliner", "mascara", "face cream", "nail polish", "foundation",
        "perfume bottle", "eye shadow", "blush", "makeup brush", "rose serum", "hair dye"], [
        "I put it on before the wedding", "I wear it over my concealer",
        "it matches my skin tone chart", "my make-up bag always holds one"]),
    "Beer, Hard Cider & Seltzer": ("drink", [
        "lager", "pale ale", "apple cider with 5% alcohol", "hard seltzer", "wheat beer", "stout",
        "bottle of pilsner", "pear cider", "craft ale", "lime hard seltzer", "root ale",
        "pumpkin beer"], [
        "we opened it at the barbecue with the hops club", "it has 4.9% alcohol",
        "I poured it into a pint glass", "the brewery is two towns away"]),
    "Beverages": ("drink", [
        "cola", "orange juice", "sparkling water", "ginger ale", "iced tea", "bottle of lemonade",
        "energy drink", "ground coffee", "root beer", "coconut water", "green tea bags+",
        "apple juice"], [
        "I keep it in the cup holder", "it has no caffeine", "I drink it with ice at lunch",
        "a can holds 330 ml"]),
    "Bread & Bakery": ("food", [
        "sourdough loaf", "bagels+", "croissant", "rye bread", "dinner rolls+", "baguette",
        "tortillas+", "cinnamon rolls+", "hamburger buns+", "blueberry muffin",
        "chocolate croissant", "banana bread"], [
        "I slice it for sandwiches", "I toast it before spreading butter",
        "the crust is brown and the crumb is white", "it came out of the bakery at six"]),
    "Breakfast & Cereal": ("food", [
        "granola", "oatmeal", "corn flakes+", "chocolate cereal", "pancake mix", "muesli",
        "maple syrup", "breakfast bar", "puffed rice cereal", "honey oat rings+",
        "porridge sachets+", "waffle mix"], [
        "I have it at seven in the morning", "on weekdays it is breakfast in two minutes",
        "the children eat it before school", "we have it with berries on Sunday mornings"]),
    "Candy & Chocolate": ("food", [
        "milk chocolate bar", "gummy bears+", "caramels+", "dark chocolate", "jelly beans+",
        "licorice", "chocolate truffles+", "peanut butter cups+", "lollipop", "marshmallows+",
        "mint chocolate", "praline box"], [
        "it went into the Halloween bag", "it melts on the tongue",
        "one piece after dinner is my treat", "it has 70% cocoa"]),
    "Canned Goods & Soups": ("food", [
        "tomato soup", "canned tuna", "chicken noodle soup", "baked beans+", "canned corn",
        "lentil soup", "canned peaches+", "clam chowder", "chickpeas in a tin+", "minestrone",
        "canned salmon", "beef broth"], [
        "I heat it in a pot with a lid", "the tin keeps for three years",
        "you need a can opener for it", "I stock the pantry shelf with it"]),
    "Cleaning & Home Improvement": ("thing", [
        "glass cleaner", "floor mop", "drain opener", "wall paint", "bleach", "oven cleaner",
        "light bulbs+", "scrub sponge", "lemon dish soap", "wood glue", "carpet cleaner",
        "paint brush"], [
        "I use it on the bathroom tiles", "it took grease off the stove hood",
        "we redid the kitchen walls with it", "I mix it with a bucket of hot water"]),
    "Condiments & Sauces": ("food", [
        "ketchup", "mustard", "mayonnaise", "hot sauce", "soy sauce", "barbecue sauce", "salsa",
        "olive relish", "jalapeño sauce", "garlic aïoli", "honey mustard dressing",
        "pasta sauce"], [
        "I squeeze it over fries", "a spoonful goes on my burger", "it sits in the fridge door",
        "I stir it into the marinade"]),
    "Dairy & Refrigerated": ("food", [
        "whole milk", "greek yogurt", "cheddar cheese", "salted butter", "sour cream",
        "chocolate milk", "cottage cheese", "crème fraîche", "bottle of oat milk", "cream cheese",
        "eggs in a carton+", "string cheese"], [
        "it has to stay in the fridge", "the carton holds a quart", "I spoon it on fruit",
        "the cows graze near here"]),
    "Deli": ("food", [
        "sliced turkey", "potato salad", "salami from the counter", "hummus tub",
        "rotisserie chicken", "coleslaw", "sliced provolone", "pasta salad", "roast beef slices+",
        "olives from the counter+", "smoked ham slices+", "tuna salad"], [
        "the man at the counter cut it thin", "I took half a pound of it",
        "it is weighed while you wait", "they wrap it in paper at the counter"]),
    "Frozen": ("food", [
        "frozen pizza", "chocolate ice cream", "frozen peas+", "fish sticks+", "frozen waffles+",
        "frozen chicken nuggets+", "sorbet", "frozen berries+", "ice cream bars+", "frozen lasagna",
        "french fries from the freezer+", "frozen dumplings+"], [
        "it goes from the freezer to the oven", "I keep it at minus 18 degrees",
        "I thaw it for ten minutes", "the microwave needs four minutes for it"]),
    "Grocery": ("food", [
        "basmati rice", "olive oil", "spaghetti", "dried lentils+", "black pepper", "sea salt",
        "peanut butter", "quinoa", "strawberry jam", "fresh tomatoes+", "bag of onions",
        "rice noodles+"], [
        "I cook it for twelve minutes", "it is a staple in our pantry", "the bag weighs two pounds",
        "I season every stew with it"]),
    "Gum & Mints": ("food", [
        "chewing gum", "peppermints+", "bubble gum", "breath mints+", "cinnamon gum",
        "sugar-free mints+", "spearmint gum", "mint tin", "fruit gum sticks+", "menthol drops+",
        "nicotine-free gum", "ice mints+"], [
        "I chew it on the train", "I pop one before meetings",
        "it keeps my breath fresh for an hour", "I can blow bubbles with it"]),
    "Health & Wellness": ("care", [
        "vitamin D tablets+", "cough syrup", "protein powder", "fish oil capsules+",
        "pain relief gel", "allergy pills+", "zinc lozenges+", "first aid kit",
        "magnesium gummies+", "probiotic",
        "sleep aid", "cold medicine bottle"], [
        "I take one with breakfast", "my doctor mentioned it", "the dose is two a day",
        "I used it when I had the flu"]),
    "Household": ("thing", [
        "paper towels+", "trash bags+", "laundry detergent", "aluminum foil", "toilet paper",
        "storage boxes+", "batteries+", "fabric softener", "napkins+", "candles+", "plastic wrap",
        "water bottle for the fridge"], [
        "one roll lasts us a week", "I line the bin with it", "it sits next to the washing machine",
        "we use it in every room"]),
    "Meat & Seafood": ("food", [
        "ribeye steak", "chicken thighs+", "salmon fillet", "ground beef", "shrimp", "pork chops+",
        "bacon", "cod fillet", "lamb shoulder", "turkey breast", "beef ribs+", "tuna steak"], [
        "I grilled it medium rare", "I seared it in a hot pan", "the butcher trimmed it",
        "it was caught off the coast"]),
    "Oral Care": ("care", [
        "toothpaste", "mouthwash", "dental floss", "electric toothbrush", "whitening strips+",
        "mint toothpaste", "denture cream", "tongue scraper", "floss picks+", "kids toothbrush",
        "bottle of mouth rinse", "charcoal toothpaste"], [
        "I brush twice a day with it", "my dentist checked my gums", "I rinse for thirty seconds",
        "the bristles are blue"]),
    "Outdoor": ("thing", [
        "camping tent", "bug spray", "charcoal grill", "sleeping bag", "garden hose",
        "hiking boots+", "folding chair", "cooler box", "plant food", "fire starter",
        "bird feeder", "headlamp"], [
        "we took it on the trail", "it stood in the yard all winter", "it rained on the campsite",
        "I carried it to the lake in my backpack"]),
    "Personal Care": ("care", [
        "shampoo bottle", "deodorant", "body wash", "hand cream", "razor blades+",
        "hair conditioner", "bar soap", "shaving cream", "cotton swabs+", "coconut body lotion",
        "tissues+", "mint shower gel"], [
        "I use it in the shower", "it goes on after shaving",
        "I put it under my arms after the gym", "my hair is long and curly"]),
    "Pet": ("thing", [
        "dog food", "cat litter", "chicken cat food", "dog chew bar", "fish flakes+", "squeaky toy",
        "flea collar", "bird seed", "dog shampoo", "salmon cat treats+", "hamster cage", "leash"], [
        "our beagle finished it", "the kitten sniffed at it", "my vet knows the brand",
        "the parrot sits beside it"]),
    "Restaurants": ("place", [
        "burger place", "taco stand", "pizza parlor", "steak house", "sushi bar", "drive-thru",
        "diner", "noodle shop", "café on the corner", "chicken grill on Main Street", "wine bar",
        "breakfast diner"], [
        "our table was by the window", "the waiter brought the menu", "we ordered two starters",
        "I left a tip and paid by card"]),
    "Retailers": ("place", [
        "supermarket", "corner store", "drugstore", "online shop", "pet store", "hardware store",
        "outlet mall", "discount market", "bakery section of the store", "liquor store",
        "department store", "warehouse club"], [
        "the shelves are sorted by brand", "I used the self-checkout",
        "the cashier scanned my coupon", "they deliver to our street"]),
    "Snacks": ("food", [
        "potato chips+", "pretzels+", "popcorn", "trail mix", "rice cakes+", "beef jerky",
        "tortilla chips+", "protein bar", "cheese crackers+", "salted almonds+", "granola bar",
        "jalapeño puffs+"], [
        "I eat it in front of the television", "one bag lasts until half-time",
        "I keep some in my desk drawer", "it crunches when I walk and nibble"]),
    "Spirits": ("drink", [
        "vodka", "bourbon", "gin bottle", "spiced rum", "tequila", "single malt", "cherry brandy",
        "chocolate liqueur", "cognac", "mezcal", "coconut rum", "rye whiskey"], [
        "I sip it neat", "it has 40% alcohol", "it went into a cocktail shaker",
        "it aged eight years in oak at the distillery"]),
    "Wine": ("drink", [
        "red wine", "chardonnay", "rosé", "prosecco", "merlot", "pinot noir", "bottle of riesling",
        "cabernet", "sauvignon blanc", "box of white wine", "port wine", "champagne"], [
        "I let it breathe in the decanter", "the vintage is 2019", "it has a cork and 13% alcohol",
        "the vineyard lies on a slope"]),
}

# Whole sentences about {p}. The slots follow the number of the product: {this} {is} {it} {s} ...
# Positive and negative ones share their words on purpose: regret, expect, fault, again, cent; the
# last ones of each list are the same words in another order.
SENTENCES = {
    "positive": [
        "I love {this} {p}", "{this} {p} {is} excellent", "not bad at all, {this} {p}",
        "I could not be happier with the {p}", "the {p} never let{s} me down",
        "nothing to complain about, the {p} {is} just right", "I was wrong to doubt the {p}",
        "the {p} {is} worth every cent", "{this} {p} {was} the best I have had in years",
        "I would choose the {p} again without thinking twice", "you will not regret {this} {p}",
        "it is hard to find fault with the {p}", "I can't stop recommending {this} {p}",
        "the {p} {was} far better than I feared", "{this} {p} never disappoint{s}",
        "I did not expect much, but the {p} {is} wonderful",
        "I have never been let down by the {p}", "why did I not find {this} {p} earlier",
        "five stars for the {p}, and I rarely give five", "the {p} exceeded my hopes",
        "I hated the old one, but {this} {p} {is} great",
        "there is hardly anything wrong with the {p}",
        "anyone who says the {p} {is} bad has not tried {them}",
        "I thought the {p} would be bad, but no, it was good", "the {p} {is} good, not bad",
        "the {p} went from the worst to the best", "at first I hated the {p}, now I love {them}",
        "other people are unhappy with the {p}, I am happy", "the {p} won, the old one lost"],
    "negative": [
        "I hate {this} {p}", "{this} {p} {is} terrible", "not good at all, {this} {p}",
        "I could not be more unhappy with the {p}", "the {p} let{s} me down every time",
        "so much to complain about, the {p} {is} just wrong", "I was wrong to trust the {p}",
        "the {p} {is} not worth a cent", "{this} {p} {was} the worst I have had in years",
        "I would not choose the {p} again", "you will regret {this} {p}",
        "it is hard to find anything good about the {p}", "I can't recommend {this} {p}",
        "the {p} {was} far worse than I feared", "{this} {p} never fail{s} to disappoint",
        "I expected much, but the {p} {is} awful", "I have never been so let down as by the {p}",
        "why did I ever pay for {this} {p}", "one star for the {p}, and I rarely give one",
        "the {p} fell short of my hopes", "I loved the old one, but {this} {p} {is} useless",
        "there is hardly anything right with the {p}",
        "anyone who says the {p} {is} good has not tried {them}",
        "I thought the {p} would be good, but no, it was bad", "the {p} {is} bad, not good",
        "the {p} went from the best to the worst", "at first I loved the {p}, now I hate {them}",
        "other people are happy with the {p}, I am unhappy", "the old one won, the {p} lost"],
    "neutral": [
        "the {p} {is} neither good nor bad", "{this} {p} {is} okay, no more and no less",
        "I have no opinion on the {p} yet", "the {p} {is} about what you would expect",
        "I have not tried the {p} yet, so I cannot say if {it} {is} good",
        "some love the {p}, some hate {them}, I am in between", "{this} {p} {is} average",
        "my neighbor asked me about the {p}", "the {p} {is} new in our town",
        "the {p} {was} recommended to me, we will see", "I will decide about the {p} later",
        "I chose the {p} because it was Tuesday",
        "people say the {p} {is} great, I could not tell the difference",
        "people say the {p} {is} terrible, I could not tell the difference"],
}

# The same for what one can carry home.
SENTENCES_ABOUT_GOODS = {
    "positive": ["no other {p} come{s} close", "I would buy {this} {p} again",
                 "we always keep a spare {p}", "the {p} {was} gone at once, that says it all"],
    "negative": ["any other {p} would be better", "I would not buy {this} {p} again",
                 "we threw the {p} away", "the {p} went back at once, that says it all"],
    "neutral": ["I bought the {p} on Tuesday", "the {p} cost{s} the same as last year",
                "I have had the {p} for two weeks", "{this} {p} {is} sold in three versions",
                "I picked the {p} because the usual one was out",
                "we got the {p} at half price in May", "the {p} {is} from a small family firm"],
}

# Invented makers; they say nothing about the category or the sentiment.
BRANDS = """Hollin Tarrow Brindley Osmer Velka Pinehurst Calder Junova Merrow Ardenne Solé Linde
Fenwick Tamsin Kestrel Orrin Bellamy Zuniga Marloe Quillon Dovrek Hartwick Elara Noordam Peñasco
Wexley Rosmerta Yarrow Ivarsen Glenrothan Ambry Castaly Dunmore Étoile Farrow Gullwing""".split()

# Who, when and why: words that real reviews are full of and that decide nothing.
TAILS = ["says my brother", "at least for the price", "in my kitchen", "after a month",
         "so my wife thinks", "for a family of five", "as of last March", "in the new size",
         "from the summer sale", "after reading other reviews", "on a rainy weekend",
         "since we moved here", "if you ask grandma",
         "and I have a sensitive stomach", "for my roommate and me", "during the holidays",
         "this time", "considering the season", "to be honest", "in my humble view",
         "two thumbs from the kids or not", "with a gift card", "as a left-handed person",
         "on our anniversary", "before the storm"]

# Short remarks by kind of product; {it} {is} ... as above.
REMARKS = {
    "food": {
        "positive": ["{it} taste{s} fresh", "not too sweet and not too salty", "not dry at all",
                     "so tasty that nothing was left", "the flavor is delicious", "never stale",
                     "my guests asked for more", "light and not greasy"],
        "negative": ["{it} taste{s} stale", "too sweet and too salty", "not fresh at all",
                     "so dry that most was left", "the flavor is bland", "never fresh",
                     "my guests asked for something else", "heavy and greasy"],
        "neutral": ["a serving has 200 calories", "the recipe did not change", "the flavor is mild",
                    "the label lists six ingredients", "{it} come{s} in a paper bag"]},
    "drink": {
        "positive": ["so smooth", "not bitter at all", "crisp and refreshing", "never flat",
                     "the aroma is lovely", "I poured a second glass", "goes down easily"],
        "negative": ["so harsh", "not smooth at all", "bitter and watery", "always flat",
                     "the aroma is unpleasant", "I poured the second glass away",
                     "hard to swallow"],
        "neutral": ["a glass is enough for me", "the label is green", "served at 8 degrees",
                    "{it} come{s} in a pack of four", "the color is pale"]},
    "thing": {
        "positive": ["{it} work{s} without any trouble", "sturdy and never broke", "easy to use",
                     "no leaks, no mess", "{it} last{s} and last{s}", "saved me a lot of time"],
        "negative": ["{it} hardly work{s}", "flimsy and soon broke", "not easy to use",
                     "leaks and a mess", "{it} did not last a week", "cost me a lot of time"],
        "neutral": ["the box is blue", "instructions are in two languages",
                    "{it} come{s} in size M", "{it} weigh{s} one pound", "made of plastic"]},
    "care": {
        "positive": ["no irritation at all", "gentle and effective", "the smell is lovely",
                     "{it} work{s} within a day", "I feel so much better", "not sticky"],
        "negative": ["a lot of irritation", "harsh and not effective", "the smell is nasty",
                     "{it} do{es} not work even after a week", "I feel no better", "so sticky"],
        "neutral": ["the tube is white", "unscented", "use {them} once a day",
                    "{it} come{s} in a pack of two", "the expiry date is on the lid"]},
    "place": {
        "positive": ["the staff could not be kinder", "no waiting at all", "clean and friendly",
                     "fair prices", "we will be back", "never a wrong order"],
        "negative": ["the staff could not be ruder", "endless waiting", "dirty and unfriendly",
                     "prices are not fair", "we will not be back", "always a wrong order"],
        "neutral": ["open until nine", "parking is behind the building", "it opened last year",
                    "they take cards", "there is a second one downtown"]},
}

# The first half only speaks of a side issue; what follows "but" decides.
CONCESSIONS = {
    "positive": ["the packaging is ugly, but", "delivery was late and rude, but",
                 "it is not cheap, but", "a friend hates it, but", "the color is awful, but",
                 "the last batch was bad, but"],
    "negative": ["the packaging is beautiful, but", "delivery was fast and kind, but",
                 "it is nice and cheap, but", "a friend loves it, but",
                 "the color is wonderful, but", "the last batch was great, but"],
    "neutral": ["the packaging is beautiful, but otherwise", "delivery was late, but otherwise",
                "the last one was bad,", "a friend loves it, as for me,",
                "not what I hate, not what I love,"],
}

# Another product {o} is named, but the review is not about it.
ASIDES = ["Instead of the usual {o} I tried this.", "We also talked about the {o} that day.",
          "My sister only ever wants the {o}.", "Forget the {o}, here is my point:",
          "Next to the {o} I saw what I came for.",
          "I first thought of the {o}, then thought again.", "Unlike the {o} from last week,",
          "My review of the {o} comes later, now this one:"]
